//! Whether what a CRM tells of a record is our own write come back. In come the statuses that were written to
//! it, with the time of each, and the status that the CRM tells; out goes whether it is an echo. News of a
//! person must never pass for one: an older status is an echo only if it was told from before the newest.

/// How many statuses of a record are kept.
const KEPT: usize = 4;

/// The statuses of a record, newest first, `digest@second` each, after this one was written.
pub fn noted(history: &str, status: &str, at: i64) -> String {
    if newest(history).is_some_and(|(before, _)| before == status) {
        return history.to_owned();
    }
    let older = history.split_whitespace().take(KEPT - 1);
    std::iter::once(format!("{status}@{at}").as_str()).chain(older).collect::<Vec<_>>().join(" ")
}

/// Whether a status that a CRM tells of this second is one that we wrote: the newest, or one from before it
/// that comes late.
pub fn is_ours(history: &str, status: &str, occurred_at: Option<i64>) -> bool {
    let Some((last, written_at)) = newest(history) else { return false };
    let comes_late = occurred_at.is_some_and(|occurred_at| occurred_at < written_at);
    last == status || comes_late && entries(history).any(|(before, _)| before == status)
}

fn newest(history: &str) -> Option<(&str, i64)> {
    entries(history).next()
}

fn entries(history: &str) -> impl Iterator<Item = (&str, i64)> {
    history.split_whitespace().filter_map(|entry| {
        let (digest, at) = entry.split_once('@')?;
        Some((digest, at.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_status_is_ours_and_an_older_one_only_if_it_comes_late() {
        let history = noted(&noted("", "paid", 100), "refunded", 200);
        assert!(is_ours(&history, "refunded", Some(205)));
        assert!(is_ours(&history, "paid", Some(101)), "told late");
        assert!(!is_ours(&history, "paid", Some(205)), "a person set it back");
        assert!(!is_ours(&history, "paid", None));
        assert!(!is_ours(&history, "failed", Some(101)));
        assert!(!is_ours("", "paid", Some(1)));
    }

    #[test]
    fn a_status_that_is_written_again_is_one_and_few_are_kept() {
        let twice = noted(&noted("", "paid", 100), "paid", 200);
        assert_eq!(twice, "paid@100");
        let many = (0..9).fold(String::new(), |all, at| noted(&all, &format!("s{at}"), at));
        assert_eq!(many, "s8@8 s7@7 s6@6 s5@5");
    }
}
