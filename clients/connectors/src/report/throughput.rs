//! How many events were settled of late. In comes each settled event with the second it was settled in, out
//! go counts of the last minutes. It holds one number a second, for no longer than it is asked about.

use std::collections::VecDeque;

/// The longest span that is asked about, in seconds.
pub const LONGEST: u64 = 15 * 60;

/// Counts by the second, the oldest first.
#[derive(Debug, Default)]
pub struct Throughput(VecDeque<(u64, u64)>);

impl Throughput {
    /// One more at this second; seconds only grow.
    pub fn count(&mut self, second: u64) {
        match self.0.back_mut() {
            Some((last, count)) if *last >= second => *count += 1,
            Some(_) | None => self.0.push_back((second, 1)),
        }
        while self.0.front().is_some_and(|(oldest, _)| oldest + LONGEST <= second) {
            self.0.pop_front();
        }
    }

    /// How many within the last `span` seconds.
    pub fn within(&self, span: u64, second: u64) -> u64 {
        let recent = self.0.iter().rev().take_while(|(at, _)| at + span > second);
        recent.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_recent_counts_and_is_held() {
        let mut throughput = Throughput::default();
        for second in 0..2_000 {
            throughput.count(second);
            throughput.count(second);
        }
        assert_eq!(throughput.within(60, 1_999), 120);
        assert_eq!(throughput.within(LONGEST, 1_999), 2 * LONGEST);
        assert_eq!(throughput.within(60, 2_100), 0);
        assert!(throughput.0.len() <= LONGEST as usize);
    }
}
