//! The conformance suite of the stores: what `tollgate::store` promises, shown for each engine. A test is
//! an async function of an `Engine`; the list at the end runs it for each of them.

mod codec;
mod drafts;
mod log;
mod own;
mod positions;
mod receipts;
mod sqlite;
mod subjects;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tempfile::TempDir;
use tollgate::store::{SqliteStore, Store};

use codec::CODEC;

type Opening = Pin<Box<dyn Future<Output = Arc<dyn Store>> + Send>>;

/// A store that can be opened again.
struct Engine {
    open: Box<dyn Fn() -> Opening + Send + Sync>,
    /// Where it keeps its files.
    _directory: TempDir,
}

impl Engine {
    fn sqlite() -> Engine {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", directory.path().join("log.db").display());
        Engine {
            open: Box::new(move || {
                let url = url.clone();
                Box::pin(async move {
                    let store = SqliteStore::open(&url, CODEC).await.expect("opens");
                    Arc::new(store) as Arc<dyn Store>
                })
            }),
            _directory: directory,
        }
    }

    async fn open(&self) -> Arc<dyn Store> {
        (self.open)().await
    }

    /// Closes the store and opens it again.
    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store.close().await;
        drop(store);
        self.open().await
    }
}

macro_rules! conformance {
    ($($part:ident { $($name:ident,)+ })+) => {
        mod on_sqlite {
            $($(
                #[tokio::test]
                async fn $name() {
                    super::$part::$name(super::Engine::sqlite()).await;
                }
            )+)+
        }
    };
}

conformance! {
    log {
        p3_sequences_have_no_gaps_and_survive_a_restart,
        p2_a_key_gives_one_event_within_and_across_batches_and_after_a_restart,
        an_event_reads_back_as_it_was_committed,
        pages_of_events_keep_to_their_bounds_and_end_only_at_the_head,
        an_empty_batch_changes_nothing,
        the_epoch_stays,
        times_are_found_by_when_events_were_committed,
        p9_the_chain_holds_over_restarts,
    }
    subjects {
        states_are_those_of_all_facts_in_turn,
        subjects_come_in_the_order_of_their_first_events,
        a_subject_has_the_sequences_of_its_events,
    }
    receipts {
        p8_receipts_are_kept_verbatim,
        receipts_page_from_the_newest,
        open_receipts_are_listed_until_a_retry_translates_them,
        a_retry_appends_what_is_new_and_names_the_stored_receipt,
        receipts_that_wait_are_listed_from_the_oldest,
        p8_what_is_denied_is_purged_in_the_commit_that_says_so,
        values_are_kept_with_the_commit,
    }
    positions {
        subscriptions_come_and_go,
        a_position_is_what_the_last_update_says,
        held_lanes_come_soonest_due_first,
        lanes_are_written_counted_and_forgotten,
        dead_letters_are_kept_until_they_are_removed,
        ack_records_tell_what_consumers_did,
        acks_and_events_share_a_commit,
        a_deleted_subscription_leaves_nothing_even_by_a_late_ack,
        tokens_are_kept_with_their_newest_state,
    }
    own {
        open_invoices_are_listed_by_due_date_until_they_are_paid,
        an_invoice_becomes_overdue_once_and_never_after_it_is_paid,
        events_of_the_gateways_own_claim_their_keys,
        links_and_their_key_stay,
    }
}
