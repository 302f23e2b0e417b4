//! What a plan says would be done, and that it writes nothing.

use std::sync::atomic::Ordering;

use tollgate_client::Event;
use tollgate_client::proto::{
    Change as WireChange, Money, PaymentAmounts, PaymentEvent, References, event::Fact,
};

use super::*;
use crate::config::Config;
use crate::shelf::{self, Shelf};

const WIDE: Bounds = Bounds { records: 100, bytes: 1 << 20 };
const DEALS: &str = "match = [{ field = \"payment_id\", from = \"references.payment\", unique = true }]\n\
    fields.dealname = { template = \"Payment {subject_id}\", on = \"create\" }\n\
    fields.amount = \"amounts.paid\"\n\
    fields.dealstage = { from = \"status\", values = { PENDING = \"open\", PAID = \"closedwon\" } }\n";

fn event(sequence: i64, payment: &str, status: &str) -> Event {
    let paid =
        (status == "PAID").then(|| Money { minor_units: 12_995, currency: "EUR".to_owned() });
    let amounts = Some(PaymentAmounts { paid, ..PaymentAmounts::default() });
    Event {
        sequence,
        provider: "stripe".to_owned(),
        subject: format!("payments/stripe/eu/{payment}"),
        references: Some(References { payment: payment.to_owned(), ..References::default() }),
        change: Some(WireChange { current: status.to_owned(), ..WireChange::default() }),
        fact: Some(Fact::Payment(PaymentEvent { amounts, ..PaymentEvent::default() })),
        ..Event::default()
    }
}

fn gathered(config: &Config, bounds: Bounds, events: &[Event]) -> Gathered {
    let mut gathered = Gathered::new(config, bounds);
    events.iter().for_each(|event| gathered.take(config, "shelf", event));
    gathered
}

async fn planned(config: &Config, shelf: &Shelf, events: &[Event]) -> Plan {
    let gathered = gathered(config, WIDE, events);
    compare(shelf, &config.objects, gathered, |_| {}).await.expect("a plan")
}

#[tokio::test]
async fn it_tells_what_each_record_would_become_and_writes_nothing() {
    let config = shelf::config(DEALS);
    let shelf = Shelf::default()
        .with("1", &[("payment_id", "a"), ("dealstage", "open")])
        .with("2", &[("payment_id", "b"), ("dealstage", "closedwon"), ("amount", "129.950")]);
    let events = [
        event(1, "a", "PENDING"),
        event(2, "a", "PAID"),
        event(3, "b", "PAID"),
        event(4, "c", "PENDING"),
    ];
    let plan = planned(&config, &shelf, &events).await;
    let [a, b, c] = plan.records.as_slice() else { panic!("{:?}", plan.records) };
    assert_eq!((a.outcome.clone(), a.events, a.id.as_deref()), (Outcome::Update, 2, Some("1")));
    let shown = |change: &Change| format!("{}: {} -> {}", change.field, change.old, change.new);
    let changes: Vec<String> = a.changes.iter().map(shown).collect();
    assert_eq!(changes, ["amount: (empty) -> 129.95 EUR", "dealstage: open -> closedwon"]);
    assert_eq!(b.outcome, Outcome::Unchanged);
    assert_eq!(c.outcome, Outcome::Create);
    let changes: Vec<String> = c.changes.iter().map(shown).collect();
    assert_eq!(
        changes,
        [
            "payment_id: (empty) -> c",
            "dealname: (empty) -> Payment c",
            "dealstage: (empty) -> open"
        ]
    );
    assert_eq!(shelf.writes.load(Ordering::Relaxed), 0);
    assert_eq!(plan.counts(), [("create", 1), ("unchanged", 1), ("update", 1)].into());
}

#[tokio::test]
async fn it_costs_less_to_write_only_the_newest() {
    let config = shelf::config(DEALS);
    let shelf = Shelf::default();
    let events: Vec<Event> =
        (0..100).map(|number| event(number, &format!("p{}", number % 10), "PAID")).collect();
    let plan = planned(&config, &shelf, &events).await;
    // Five calls look up ten records, ten write a hundred rows, one writes ten.
    assert_eq!((plan.all.calls, plan.newest.calls), (15, 6));
    assert!(plan.all.seconds > plan.newest.seconds);
}

#[tokio::test]
async fn records_that_are_not_there_wait_or_are_passed_over_or_put_aside() {
    for (no_match, outcome) in [("park", "wait"), ("skip", "skip"), ("dead_letter", "put aside")] {
        let object = format!("policy = \"update_only\"\nno_match = \"{no_match}\"\n{DEALS}");
        let config = shelf::config(&object);
        let plan = planned(&config, &Shelf::default(), &[event(1, "a", "PAID")]).await;
        assert_eq!(plan.records[0].outcome.word(), outcome);
        assert_eq!(plan.newest.calls, 1, "one look-up");
    }
}

#[tokio::test]
async fn a_key_of_several_records_is_put_aside() {
    let config = shelf::config(DEALS);
    let shelf =
        Shelf::default().with("1", &[("payment_id", "a")]).with("2", &[("payment_id", "a")]);
    let plan = planned(&config, &shelf, &[event(1, "a", "PAID")]).await;
    let reason = "several records have payment_id = a".to_owned();
    assert_eq!(plan.records[0].outcome, Outcome::Aside(reason));
}

#[tokio::test]
async fn rows_that_lead_to_one_record_become_one() {
    let matches = "match = [{ field = \"payment_id\", from = \"references.payment\" }, { field = \
                   \"order_id\", from = \"references.order\" }]\nfields.dealstage = { from = \"status\", \
                   values = { PENDING = \"open\", PAID = \"closedwon\" } }\n";
    let config = shelf::config(matches);
    let shelf = Shelf::default().with("1", &[("payment_id", "a"), ("order_id", "7")]);
    let mut by_order = event(1, "", "PENDING");
    by_order.references = Some(References { order: "7".to_owned(), ..References::default() });
    let plan = planned(&config, &shelf, &[by_order, event(2, "a", "PAID")]).await;
    let [one] = plan.records.as_slice() else { panic!("{:?}", plan.records) };
    assert_eq!((one.events, one.sequence), (2, 2));
    assert_eq!(one.changes[0].new, Value::Text("closedwon".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_crm_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let config = shelf::config(DEALS);
    let shelf = Shelf::default().with("1", &[("payment_id", "a")]);
    shelf.faults.lock().expect("no panic").push_back(Fault::transient("503"));
    let plan = planned(&config, &shelf, &[event(1, "a", "PAID")]).await;
    assert_eq!(plan.records[0].outcome, Outcome::Update);

    let refusal = Fault::Unauthorized { reason: "401".to_owned() };
    shelf.faults.lock().expect("no panic").push_back(refusal.clone());
    let gathered = gathered(&config, WIDE, &[event(1, "a", "PAID")]);
    let refused = compare(&shelf, &config.objects, gathered, |_| {}).await;
    assert_eq!(refused.map(|plan| plan.records.len()), Err(refusal));
}

#[test]
fn what_is_held_is_bounded_and_what_is_not_is_counted() {
    let config = shelf::config(DEALS);
    let events: Vec<Event> =
        (0..10).map(|number| event(number, &format!("p{number}"), "PAID")).collect();
    let held = gathered(&config, Bounds { records: 4, ..WIDE }, &events);
    assert_eq!((held.records(), held.beyond(), held.events), (4, 6, 10));
    let held = gathered(&config, Bounds { bytes: 1, ..WIDE }, &events);
    assert_eq!((held.records(), held.beyond()), (1, 9));
}

#[test]
fn events_that_mean_nothing_are_counted_by_why() {
    let config = shelf::config(DEALS);
    let mut late = event(1, "a", "PAID");
    late.change.as_mut().expect("a change").superseded = true;
    let own = Event { provider: "shelf".to_owned(), ..event(2, "a", "PAID") };
    let events = [late, own, event(3, "a", "DISPUTED"), event(4, "", "PAID")];
    let held = gathered(&config, WIDE, &events);
    assert_eq!(held.passed_over, [("superseded", 1), ("own", 1)].into());
    let reasons: Vec<&String> = held.objects[0].unmappable.keys().collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("`DISPUTED`") && reasons[1].contains("has none of"), "{reasons:?}");
}
