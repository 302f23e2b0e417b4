//! A plan as people read it, and as scripts do.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::budget::Standing;
use crate::commands::output;
use crate::crm::Cost;
use crate::plan::{Change, Gathered, Outcome, Plan, Planned};
use crate::value::Value;

/// A longer value is cut for people.
const MAX_SHOWN: usize = 120;

/// What is told beside the records.
pub struct Told {
    identity: String,
    events: u64,
    passed_over: BTreeMap<&'static str, u64>,
    unwanted: u64,
    unmappable: BTreeMap<String, u64>,
    beyond: u64,
}

impl Told {
    /// Of what was read.
    pub fn of(gathered: &Gathered, identity: &str) -> Told {
        let mut unmappable = BTreeMap::new();
        for (why, count) in gathered.objects.iter().flat_map(|object| &object.unmappable) {
            *unmappable.entry(why.clone()).or_default() += count;
        }
        Told {
            identity: identity.to_owned(),
            events: gathered.events,
            passed_over: gathered.passed_over.clone(),
            unwanted: gathered.objects.iter().map(|object| object.unwanted).sum(),
            unmappable,
            beyond: gathered.beyond(),
        }
    }
}

/// For people.
pub fn text(plan: &Plan, told: &Told, standing: &Standing, limit: usize) -> anyhow::Result<()> {
    output::line(&format!("signed in as {}; nothing is written", told.identity))?;
    let shown = shown(plan, limit);
    let left_out = plan.records.len() - shown.len();
    for record in shown {
        output::line("")?;
        output::line(&record_text(record))?;
    }
    output::line("")?;
    if left_out > 0 {
        output::line(&format!("(and {}; --limit shows more)", counted(left_out, "record")))?;
    }
    for (why, count) in &told.unmappable {
        let events = output::counted(*count, "event");
        output::line(&format!("{events} would be put aside: {why}"))?;
    }
    if told.beyond > 0 {
        let events = output::counted(told.beyond, "event");
        output::line(&format!(
            "{events} are about records beyond the bound of --records and of memory, and are not in \
             the sums"
        ))?;
    }
    let counts = plan.counts();
    let counts: Vec<String> =
        counts.iter().map(|(word, count)| format!("{} {word}", output::grouped(*count))).collect();
    let mut events = output::counted(told.events, "event");
    for (why, count) in &told.passed_over {
        // Writing to a string cannot fail.
        let _ = write!(events, ", {} passed over as {why}", output::grouped(*count));
    }
    Ok(output::details(&[
        ("events", events),
        ("records", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }),
        ("all events", cost_text(plan.all)),
        ("only the newest", format!("{} (`collapse = true`)", cost_text(plan.newest))),
        ("day's quota", quota_text(standing, plan)),
    ])?)
}

/// For scripts: a line for each record, then one with the sums.
pub fn json(plan: &Plan, told: &Told, standing: &Standing, limit: usize) -> anyhow::Result<()> {
    for record in shown(plan, limit) {
        output::line(&json!({ "record": record_json(record) }).to_string())?;
    }
    let cost = |cost: Cost| json!({ "calls": cost.calls, "leastSeconds": cost.seconds });
    let sums = json!({
        "identity": told.identity,
        "events": told.events,
        "passedOver": told.passed_over,
        "unwanted": told.unwanted,
        "unmappable": told.unmappable,
        "beyondBounds": told.beyond,
        "records": plan.counts(),
        "allEvents": cost(plan.all),
        "onlyTheNewest": cost(plan.newest),
        "quotaRemaining": standing.daily_remaining,
        "quotaLimit": standing.daily_limit,
    });
    Ok(output::line(&json!({ "sums": sums }).to_string())?)
}

/// Those first that something would become of.
fn shown(plan: &Plan, limit: usize) -> Vec<&Planned> {
    let mut records: Vec<&Planned> = plan.records.iter().collect();
    records.sort_by_key(|record| record.outcome == Outcome::Unchanged);
    records.truncate(limit);
    records
}

fn record_text(record: &Planned) -> String {
    let id = record.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
    let events = output::counted(record.events, "event");
    let outcome = match &record.outcome {
        Outcome::Aside(reason) => format!("would be put aside: {reason}"),
        Outcome::Waits => "would wait (no match)".to_owned(),
        Outcome::Create => "create".to_owned(),
        Outcome::Update => "update".to_owned(),
        Outcome::Skipped => "would be passed over (no match)".to_owned(),
        Outcome::Unchanged => "unchanged".to_owned(),
    };
    let mut text = format!(
        "{}{id} ({}): {outcome}; {events}, the last about {}",
        record.object, record.key, record.subject
    );
    for Change { field, old, new } in &record.changes {
        // Writing to a string cannot fail.
        let _ = match record.outcome {
            Outcome::Create => write!(text, "\n  {field}: {}", cut(new)),
            Outcome::Aside(_)
            | Outcome::Waits
            | Outcome::Update
            | Outcome::Skipped
            | Outcome::Unchanged => write!(text, "\n  {field}: {} → {}", cut(old), cut(new)),
        };
    }
    text
}

fn record_json(record: &Planned) -> Json {
    let reason = match &record.outcome {
        Outcome::Aside(reason) => reason.as_str(),
        Outcome::Waits
        | Outcome::Create
        | Outcome::Update
        | Outcome::Skipped
        | Outcome::Unchanged => "",
    };
    let changes = record.changes.iter().map(|Change { field, old, new }| {
        (field.clone(), json!({ "old": old.json(), "new": new.json() }))
    });
    json!({
        "object": record.object,
        "id": record.id,
        "key": record.key,
        "outcome": record.outcome.word(),
        "reason": reason,
        "changes": changes.collect::<serde_json::Map<_, _>>(),
        "events": record.events,
        "sequence": record.sequence,
        "subject": record.subject,
    })
}

fn cut(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

fn cost_text(cost: Cost) -> String {
    let calls = output::counted(cost.calls, "call");
    format!("{calls}, at least {:.1} minutes", cost.seconds / 60.0)
}

fn quota_text(standing: &Standing, plan: &Plan) -> String {
    let Some(remaining) = standing.daily_remaining else { return String::new() };
    let mut text = format!("{} calls left", output::grouped(remaining));
    if let Some(limit) = standing.daily_limit {
        // Writing to a string cannot fail.
        let _ = write!(text, " of {}", output::grouped(limit));
    }
    if plan.all.calls > remaining {
        text.push_str(", which is not enough for all events");
    }
    text
}

fn counted(number: usize, what: &str) -> String {
    output::counted(number as u64, &format!("more {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Outcome) -> Planned {
        Planned {
            object: "deals".to_owned(),
            id: Some("7".to_owned()),
            key: "payment_id = pi_1".to_owned(),
            outcome,
            changes: vec![Change {
                field: "dealstage".to_owned(),
                old: Value::Text("open".to_owned()),
                new: Value::Text("é".repeat(200)),
            }],
            events: 3,
            sequence: 9,
            subject: "payments/stripe/eu/pi_1".to_owned(),
        }
    }

    #[test]
    fn a_difference_is_shown_field_by_field() {
        let text = record_text(&record(Outcome::Update));
        let first = "deals 7 (payment_id = pi_1): update; 3 events, the last about \
                     payments/stripe/eu/pi_1";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("\n  dealstage: open → é") && text.ends_with("é.."), "{text}");
        let json = record_json(&record(Outcome::Aside("no such option".to_owned())));
        assert_eq!(json["reason"], "no such option");
        assert_eq!(json["changes"]["dealstage"]["old"], "open");
    }

    #[test]
    fn what_stays_as_it_is_comes_last() {
        let records = vec![record(Outcome::Unchanged), record(Outcome::Update)];
        let plan = Plan { records, ..Plan::default() };
        assert_eq!(shown(&plan, 1)[0].outcome, Outcome::Update);
    }
}
