//! Calls for several rows that are refused as a whole are taken apart until the bad rows are alone. In
//! comes a way to make the call for some of the rows, out goes one result for each row, in their order. It
//! makes fewer than twice as many calls as there are rows.

use std::ops::Range;

use futures::future::BoxFuture;

use crate::crm::Fault;

/// Why there is no result for any row of a call.
#[derive(Debug)]
pub(super) enum Whole {
    /// One row may be why: half of them may go through.
    Divide(Fault),
    /// It is so for all.
    Keep(Fault),
}

/// One result for each row of a call, or why there is none.
pub(super) type Outcome<T> = Result<Vec<Result<T, Fault>>, Whole>;

/// Makes the call for all rows, and for halves of them as long as it is refused.
pub(super) async fn apart<'a, T>(
    rows: Range<usize>,
    call: impl Fn(Range<usize>) -> BoxFuture<'a, Outcome<T>>,
) -> Vec<Result<T, Fault>> {
    let mut results = Vec::with_capacity(rows.len());
    let mut to_do = vec![rows];
    while let Some(rows) = to_do.pop() {
        let count = rows.len();
        match call(rows.clone()).await {
            Ok(part) => results.extend(part),
            Err(Whole::Divide(_)) if count > 1 => {
                let middle = rows.start + count / 2;
                to_do.push(middle..rows.end);
                to_do.push(rows.start..middle);
            }
            Err(Whole::Divide(fault) | Whole::Keep(fault)) => {
                results.extend(std::iter::repeat_n(fault, count).map(Err));
            }
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn bad_rows_end_alone_with_bounded_calls() {
        for bad in [vec![], vec![0], vec![19], vec![3, 4, 11], (0..20).collect()] {
            let calls = AtomicUsize::new(0);
            let call = |rows: Range<usize>| {
                calls.fetch_add(1, Ordering::SeqCst);
                let refused = bad.iter().any(|row| rows.contains(row));
                let fault = Fault::permanent("bad", "row");
                let ok = Ok(rows.map(Ok).collect());
                async move { if refused { Err(Whole::Divide(fault)) } else { ok } }.boxed()
            };
            let results = apart(0..20, call).await;
            assert_eq!(results.len(), 20);
            for (row, result) in results.iter().enumerate() {
                assert_eq!(result.is_err(), bad.contains(&row), "{row} of {bad:?}");
                assert!(result.as_ref().map_or(true, |got| *got == row));
            }
            assert!(calls.into_inner() < 40, "{bad:?}");
        }
    }
}
