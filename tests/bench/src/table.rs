//! The table that a run prints: for each measure the median of its rounds with their range, the yardstick
//! of the same rounds, the ratio of both with its range, and whether the aim was reached. A ratio is made
//! within a round and never across: the machine may be slower in the next.

use std::fmt;

/// The rows.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

/// One measure.
pub struct Row {
    measure: String,
    unit: &'static str,
    figures: Vec<f64>,
    yardstick: Option<(&'static str, Vec<f64>)>,
    aim: Option<Aim>,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// The figure is at least this.
    AtLeast(f64),
    /// The figure is at most this.
    AtMost(f64),
    /// The ratio is at least this.
    RatioAtLeast(f64),
    /// The ratio is at most this.
    RatioAtMost(f64),
}

impl Row {
    /// A measure and its unit.
    pub fn new(measure: impl Into<String>, unit: &'static str) -> Row {
        Row { measure: measure.into(), unit, figures: vec![], yardstick: None, aim: None }
    }

    /// What each round gave.
    pub fn figures(mut self, figures: &[f64]) -> Row {
        self.figures = figures.to_vec();
        self
    }

    /// What the yardstick gave in each round.
    pub fn beside(mut self, name: &'static str, figures: &[f64]) -> Row {
        self.yardstick = Some((name, figures.to_vec()));
        self
    }

    /// What is to be reached.
    pub fn aim(mut self, aim: Aim) -> Row {
        self.aim = Some(aim);
        self
    }

    fn ratios(&self) -> Vec<f64> {
        let Some((_, yardstick)) = &self.yardstick else { return Vec::new() };
        self.figures.iter().zip(yardstick).map(|(figure, yardstick)| figure / yardstick).collect()
    }
}

impl Table {
    /// Adds a row, and tells it at once to who waits for the table.
    pub fn add(&mut self, row: Row) {
        eprintln!("  {}: {} {}", row.measure, spread(&row.figures), row.unit);
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| measure | figure (range) | beside | ratio (range) | aim | |")?;
        writeln!(formatter, "|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let ratios = row.ratios();
            let beside = row
                .yardstick
                .as_ref()
                .map(|(name, figures)| format!("{name}: {}", number(median(figures))));
            let (aim, met) = match row.aim {
                Some(aim) => {
                    let met = aim.is_met(median(&row.figures), median(&ratios));
                    (aim.to_string(), if met { "reached" } else { "**missed**" })
                }
                None => Default::default(),
            };
            writeln!(
                formatter,
                "| {} | {} {} | {} | {} | {aim} | {met} |",
                row.measure,
                spread(&row.figures),
                row.unit,
                beside.unwrap_or_default(),
                spread(&ratios),
            )?;
        }
        Ok(())
    }
}

impl Aim {
    fn is_met(self, figure: f64, ratio: f64) -> bool {
        match self {
            Aim::AtLeast(least) => figure >= least,
            Aim::AtMost(most) => figure <= most,
            Aim::RatioAtLeast(least) => ratio >= least,
            Aim::RatioAtMost(most) => ratio <= most,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aim::AtLeast(least) => write!(formatter, "≥ {}", number(*least)),
            Aim::AtMost(most) => write!(formatter, "≤ {}", number(*most)),
            Aim::RatioAtLeast(least) => write!(formatter, "ratio ≥ {}", number(*least)),
            Aim::RatioAtMost(most) => write!(formatter, "ratio ≤ {}", number(*most)),
        }
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = |at: usize| sorted.get(at).copied().unwrap_or(f64::NAN);
    f64::midpoint(middle(sorted.len().saturating_sub(1) / 2), middle(sorted.len() / 2))
}

fn spread(figures: &[f64]) -> String {
    let least = figures.iter().copied().reduce(f64::min);
    let most = figures.iter().copied().reduce(f64::max);
    match (least, most) {
        (Some(least), Some(most)) if figures.len() > 1 => {
            format!("{} ({}–{})", number(median(figures)), number(least), number(most))
        }
        (Some(only), _) => number(only),
        (None, _) => String::new(),
    }
}

/// Three digits that count, thousands apart.
fn number(value: f64) -> String {
    if value.abs() >= 1_000.0 {
        let digits = format!("{value:.0}");
        let places = digits.char_indices().map(|(at, digit)| {
            let left = digits.len() - at;
            if at > 0 && left.is_multiple_of(3) { format!(",{digit}") } else { digit.to_string() }
        });
        return places.collect();
    }
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_made_within_a_round() {
        let row = Row::new("ingest", "/s").figures(&[10.0, 30.0]).beside("bare", &[100.0, 100.0]);
        assert_eq!(row.ratios(), [0.1, 0.3]);
        let mut table = Table::default();
        table.add(row.aim(Aim::RatioAtLeast(0.2)));
        let text = table.to_string();
        assert!(text.contains("| 0.200 (0.100–0.300) | ratio ≥ 0.200 | reached |"), "{text}");
    }

    #[test]
    fn a_missed_aim_is_shown() {
        let mut table = Table::default();
        table.add(Row::new("memory", "MB").figures(&[12_345.6]).aim(Aim::AtMost(150.0)));
        assert!(table.to_string().contains("12,346 MB |  |  | ≤ 150 | **missed** |"), "{table}");
    }
}
