//! The timer of due dates: most sources send nothing when one passes, so the gateway appends the OVERDUE
//! event itself, once for each invoice and due date. In come the invoices that the store lists as due; out go
//! events like any other. Whether an invoice is still open is decided by the writer as it appends, never
//! here: what is read here may be paid by then.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use tokio_util::sync::CancellationToken;

use super::{Error, Ingest};
use crate::model::subject_state::OVERDUE_VERSION;
use crate::model::{Draft, Fact, SubjectId};
use crate::store::{self, Condition, DueInvoice, Own, Store};

/// The clock that days are told by.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How many invoices are read and appended at a time.
const PAGE: usize = 256;
/// What the events' type is.
const EVENT_TYPE: &str = "tollgate.invoice.overdue";

/// Looks for due dates that have passed, at once and then every `interval`, until `stopping`.
pub async fn run(
    store: Arc<dyn Store>,
    ingest: Ingest,
    clock: Clock,
    interval: Duration,
    stopping: CancellationToken,
) {
    loop {
        match pass(&*store, &ingest, clock()).await {
            Ok(0) => {}
            Ok(appended) => tracing::info!(appended, "invoices became overdue"),
            Err(error) => tracing::warn!(%error, "due dates are looked at again later"),
        }
        if stopping.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
            return;
        }
    }
}

/// Why a pass broke off. What it did not come to is found again by the next.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Commit(#[from] Error),
}

/// Appends what is overdue today; how many events that were.
async fn pass(store: &dyn Store, ingest: &Ingest, now: Timestamp) -> Result<usize, Failure> {
    let today = Offset::UTC.to_datetime(now).date();
    let mut after: Option<(Date, SubjectId)> = None;
    let mut appended = 0;
    loop {
        let page = store.due_invoices(today, after, PAGE).await?;
        after = page.last().map(|last| (last.due, last.id));
        let full = page.len() == PAGE;
        let events = page.into_iter().filter_map(|invoice| event(invoice, now));
        for sequence in join_all(events.map(|event| ingest.append(event))).await {
            appended += usize::from(sequence?.is_some());
        }
        if !full {
            return Ok(appended);
        }
    }
}

/// The event that an invoice is overdue, from the start of the day after its due date on.
fn event(invoice: DueInvoice, now: Timestamp) -> Option<Own> {
    let DueInvoice { due, state, .. } = invoice;
    let subject = state.subject().clone();
    let key = format!("tollgate:overdue:{due}:{}", subject.id);
    let next_day = due.tomorrow().and_then(|day| Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)));
    let draft = Draft {
        event_id: key.clone(),
        key,
        event_type: EVENT_TYPE.to_owned(),
        occurred_at: next_day.unwrap_or(now),
        version: OVERDUE_VERSION,
        rank: 0,
        references: state.references(),
        live: state.live(),
        fact: Fact::Invoice(state.overdue_fact(due)?),
        subject: subject.clone(),
    };
    let condition = Condition::StillDue(due);
    Some(Own { endpoint: subject.endpoint, received_at: now, draft, condition })
}
