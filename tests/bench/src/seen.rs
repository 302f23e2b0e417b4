//! Which numbers of a range have come, one bit each: how it is known that no accepted event was lost and
//! none came twice.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of a range that have come.
pub struct Seen {
    range: Range<u64>,
    words: Vec<AtomicU64>,
    twice: AtomicU64,
    strange: AtomicU64,
}

impl Seen {
    /// None of the range has come.
    pub fn none_of(range: Range<u64>) -> Seen {
        let words = (range.end - range.start).div_ceil(64);
        Seen {
            range,
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            twice: AtomicU64::new(0),
            strange: AtomicU64::new(0),
        }
    }

    /// The range.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// A number has come; true the first time.
    pub fn mark(&self, number: Option<u64>) -> bool {
        let Some(number) = number.filter(|number| self.range.contains(number)) else {
            self.strange.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let (word, bit) = self.place(number);
        let is_new = word.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        if !is_new {
            self.twice.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    /// How many have come.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }

    /// Fails unless all of the range has come, once each.
    pub fn complete(&self) -> anyhow::Result<()> {
        self.same(self.range.end - self.range.start, 0)
    }

    /// Fails unless what was accepted has come, once each, and nothing else.
    pub fn same_as(&self, accepted: &Seen) -> anyhow::Result<()> {
        let pairs = accepted.words.iter().zip(&self.words);
        let lost = pairs.map(|(accepted, seen)| {
            let lost = accepted.load(Ordering::Relaxed) & !seen.load(Ordering::Relaxed);
            u64::from(lost.count_ones())
        });
        self.same(accepted.count(), lost.sum())
    }

    fn same(&self, expected: u64, lost: u64) -> anyhow::Result<()> {
        let count = self.count();
        let lost = lost.max(expected.saturating_sub(count));
        let (twice, strange) =
            (self.twice.load(Ordering::Relaxed), self.strange.load(Ordering::Relaxed));
        anyhow::ensure!(
            lost == 0 && twice == 0 && strange == 0 && count == expected,
            "of {expected} events {lost} were lost and {twice} came again; {strange} were not \
             expected, {count} came"
        );
        Ok(())
    }

    fn place(&self, number: u64) -> (&AtomicU64, u64) {
        let at = number - self.range.start;
        (&self.words[usize::try_from(at / 64).unwrap_or(usize::MAX)], 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_event_and_one_that_came_twice_are_told() {
        let accepted = Seen::none_of(10..20);
        let seen = Seen::none_of(10..20);
        for number in [10, 11, 19] {
            accepted.mark(Some(number));
            seen.mark(Some(number));
        }
        assert!(seen.same_as(&accepted).is_ok());
        assert!(seen.complete().is_err());
        accepted.mark(Some(12));
        assert!(seen.same_as(&accepted).is_err(), "12 was lost");
        seen.mark(Some(12));
        assert!(seen.same_as(&accepted).is_ok());
        seen.mark(Some(12));
        assert!(seen.same_as(&accepted).is_err(), "12 came twice");
    }

    #[test]
    fn an_event_of_another_range_is_told() {
        let seen = Seen::none_of(0..1);
        seen.mark(Some(0));
        assert!(seen.complete().is_ok());
        seen.mark(Some(1));
        assert!(seen.complete().is_err());
    }
}
