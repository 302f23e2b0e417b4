//! What the gateway keeps for itself: events of its own, due invoices, links.

use std::sync::Arc;

use jiff::civil::{Date, date};
use tollgate::model::{
    Draft, Fact, InvoiceFact, InvoiceStatus, Money, References, Sequence, Status, Subject,
    SubjectKind,
};
use tollgate::store::{Batch, Condition, LinkRow, Own, Store};

use super::Engine;
use super::drafts::{at, batch_of, draft as payment_draft, endpoint, translated};
use tollgate::model::PaymentStatus;

const DUE: Date = date(2026, 2, 10);

fn invoice(
    key: &str,
    id: &str,
    status: InvoiceStatus,
    due_date: Option<Date>,
    seconds: i64,
) -> Draft {
    let total = Money::new(900, "EUR").expect("money");
    Draft {
        subject: Subject {
            kind: SubjectKind::Invoice,
            endpoint: endpoint("acme"),
            id: id.to_owned(),
        },
        fact: Fact::Invoice(InvoiceFact {
            status,
            total: Some(total),
            paid: None,
            balance: Some(total),
            refunded: None,
            due_date,
        }),
        references: References { invoice_number: format!("INV-{id}"), ..References::default() },
        ..payment_draft(key, id, PaymentStatus::Pending, seconds)
    }
}

/// As the timer makes it: what the invoice was when it was read, here nothing.
fn overdue(id: &str, due: Date) -> Own {
    Own {
        endpoint: endpoint("acme"),
        received_at: at(5000),
        draft: Draft {
            version: tollgate::model::subject_state::OVERDUE_VERSION,
            references: References::default(),
            live: false,
            ..invoice(&format!("overdue:{due}:{id}"), id, InvoiceStatus::Overdue, Some(due), 5000)
        },
        condition: Condition::StillDue(due),
    }
}

async fn due(store: &Arc<dyn Store>, before: Date) -> Vec<(Date, String)> {
    let due = store.due_invoices(before, None, 10).await.expect("listed");
    due.into_iter().map(|one| (one.due, one.state.subject().id.clone())).collect()
}

fn own(own: Vec<Own>) -> Batch {
    Batch { own, ..Batch::default() }
}

pub async fn open_invoices_are_listed_by_due_date_until_they_are_paid(engine: Engine) {
    let store = engine.open().await;
    let later = date(2026, 3, 1);
    let drafts = vec![
        invoice("k1", "in_2", InvoiceStatus::Open, Some(later), 1),
        invoice("k2", "in_1", InvoiceStatus::Open, Some(DUE), 1),
        invoice("k3", "in_3", InvoiceStatus::Draft, Some(DUE), 1),
        invoice("k4", "in_4", InvoiceStatus::PartiallyPaid, Some(DUE), 1),
        invoice("k5", "in_5", InvoiceStatus::Open, None, 1),
        payment_draft("k6", "pi_1", PaymentStatus::Pending, 1),
    ];
    store.commit(batch_of(drafts)).await.expect("commits");
    let store = engine.reopen(store).await;
    let listed = |due: Date, id: &str| (due, id.to_owned());
    assert_eq!(due(&store, DUE).await, []);
    assert_eq!(due(&store, later).await, [listed(DUE, "in_1"), listed(DUE, "in_4")]);
    let first = store.due_invoices(date(2027, 1, 1), None, 1).await.expect("listed");
    let after = Some((first[0].due, first[0].id));
    let rest = store.due_invoices(date(2027, 1, 1), after, 10).await.expect("listed");
    assert_eq!(rest.len(), 2);

    // Paid, moved, and opened.
    let changes = vec![
        invoice("k7", "in_1", InvoiceStatus::Paid, Some(DUE), 2),
        invoice("k8", "in_4", InvoiceStatus::PartiallyPaid, Some(later), 2),
        invoice("k9", "in_3", InvoiceStatus::Open, Some(DUE), 2),
    ];
    store.commit(batch_of(changes)).await.expect("commits");
    assert_eq!(
        due(&store, date(2027, 1, 1)).await,
        [listed(DUE, "in_3"), listed(later, "in_2"), listed(later, "in_4")]
    );
}

pub async fn an_invoice_becomes_overdue_once_and_never_after_it_is_paid(engine: Engine) {
    let store = engine.open().await;
    let open = |key: &str, id: &str| invoice(key, id, InvoiceStatus::Open, Some(DUE), 1);
    store.commit(batch_of(vec![open("k1", "in_1"), open("k2", "in_2")])).await.expect("commits");

    // The payment of the same batch goes before.
    let paid = invoice("k3", "in_2", InvoiceStatus::Paid, Some(DUE), 9000);
    let batch = Batch {
        receipts: vec![translated(vec![paid])],
        own: vec![overdue("in_1", DUE), overdue("in_2", DUE), overdue("in_none", DUE)],
        ..Batch::default()
    };
    let committed = store.commit(batch).await.expect("commits");
    assert_eq!(committed.own, [Some(Sequence(4)), None, None]);
    assert_eq!(committed.receipts[0].sequences, [Sequence(3)]);
    assert_eq!(due(&store, date(2027, 1, 1)).await, []);

    let event = store.event(Sequence(4)).await.expect("read").expect("there");
    let event = event.event(super::CODEC).expect("decoded");
    assert_eq!(event.receipt, None);
    assert_eq!(event.references.invoice_number, "INV-in_1", "as the invoice has it");
    assert!(event.live, "as the invoice is");
    assert_eq!(event.change.current, Status::Invoice(InvoiceStatus::Overdue));
    assert!(!event.change.superseded);

    // Again, and by a late report of the open invoice: nothing new.
    let again = store.commit(own(vec![overdue("in_1", DUE)])).await.expect("commits");
    assert!(again.events.is_empty());
    let late = invoice("k4", "in_1", InvoiceStatus::Open, Some(DUE), 99_000);
    store.commit(batch_of(vec![late])).await.expect("commits");
    assert_eq!(due(&store, date(2027, 1, 1)).await, []);

    // A new due date is another one to miss.
    let next = date(2026, 3, 1);
    let moved = invoice("k5", "in_1", InvoiceStatus::Open, Some(next), 99_001);
    store.commit(batch_of(vec![moved])).await.expect("commits");
    assert_eq!(due(&store, date(2027, 1, 1)).await, [(next, "in_1".to_owned())]);
    let stale = store.commit(own(vec![overdue("in_1", DUE)])).await.expect("commits");
    assert!(stale.events.is_empty(), "its day is another by now");
    let committed = store.commit(own(vec![overdue("in_1", next)])).await.expect("commits");
    assert_eq!(committed.events.len(), 1);
}

pub async fn events_of_the_gateways_own_claim_their_keys(engine: Engine) {
    let store = engine.open().await;
    let one = |key: &str| Own {
        endpoint: endpoint("acme"),
        received_at: at(1),
        draft: payment_draft(key, "pi_1", PaymentStatus::Paid, 1),
        condition: Condition::Always,
    };
    let committed = store.commit(own(vec![one("a"), one("a"), one("b")])).await.expect("commits");
    assert_eq!(committed.own, [Some(Sequence(1)), Some(Sequence(1)), Some(Sequence(2))]);
    let store = engine.reopen(store).await;
    let committed = store.commit(own(vec![one("b"), one("c")])).await.expect("commits");
    assert_eq!(committed.own, [Some(Sequence(2)), Some(Sequence(3))]);
    assert_eq!(store.head().await.expect("read").receipt.0, 0, "no receipt was made up");
}

pub async fn links_and_their_key_stay(engine: Engine) {
    let store = engine.open().await;
    let key = store.link_key().await.expect("a key");
    let link = LinkRow {
        id: [7; 16],
        target_url: "https://pay.example.com/c/1#f".to_owned(),
        subject: "paymentRequests/tollgate/links/07".to_owned(),
        references: References { order: "7".to_owned(), ..References::default() },
        live: true,
        created_at: at(1),
        expires_at: Some(at(2)),
    };
    store.put_link(&link).await.expect("kept");
    let store = engine.reopen(store).await;
    assert_eq!(store.link_key().await.expect("a key"), key);
    assert_ne!(key, [0; 32]);
    assert_eq!(store.link(&[7; 16]).await.expect("read"), Some(link));
    assert_eq!(store.link(&[8; 16]).await.expect("read"), None);
    store.forget_links(at(2)).await.expect("done");
    assert!(store.link(&[7; 16]).await.expect("read").is_some(), "it has just expired");
    store.forget_links(at(3)).await.expect("done");
    assert_eq!(store.link(&[7; 16]).await.expect("read"), None);
}
