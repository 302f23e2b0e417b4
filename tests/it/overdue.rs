//! Invoices whose due date has passed: one OVERDUE event each, like any other, whatever happens around it.

use jiff::{SignedDuration, Timestamp};
use tollgate_client::Client;
use tollgate_client::proto::event::Fact;
use tollgate_client::proto::{Event, GetPaymentRequest, InvoiceStatus, ListEventsRequest};

use crate::gateway::{TestGateway, config};
use crate::subscriber::{eventually, soon};

const OFTEN: &str = "[invoices]\noverdue_interval_seconds = 1\n";

async fn events(client: &Client) -> Vec<Event> {
    let listed = soon(client.events().list_events(ListEventsRequest::default())).await;
    listed.expect("listed").into_inner().events
}

async fn status(client: &Client, name: &str) -> String {
    let request = GetPaymentRequest { name: name.to_owned() };
    let got = soon(client.payments().get_payment(request)).await.expect("it is there");
    got.into_inner().payment.expect("a payment").status
}

fn reported(event: &Event) -> Option<InvoiceStatus> {
    match &event.fact {
        Some(Fact::Invoice(fact)) => Some(fact.status()),
        Some(_) | None => None,
    }
}

async fn post(gateway: &TestGateway, event_type: &str, seed: &str, at: Timestamp) {
    assert_eq!(gateway.post(gateway.sample_at(event_type, seed, at)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_invoice_is_overdue_once_its_day_has_passed() {
    let gateway = TestGateway::with(config(OFTEN)).await;
    let issued: Timestamp = "2026-10-01T12:00:00Z".parse().expect("a time");
    let due = issued + SignedDuration::from_hours(30 * 24);
    gateway.clock().set(due);
    let client = gateway.client().await;
    for seed in ["open", "paid"] {
        post(&gateway, "invoice.finalized", seed, issued).await;
    }
    post(&gateway, "invoice.paid", "paid", issued).await;
    // The day itself is not over: a look at it changes nothing.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(events(&client).await.len(), 3);

    gateway.clock().set(due + SignedDuration::from_hours(12));
    let all = eventually("the event", async || {
        let all = events(&client).await;
        (all.len() == 4).then_some(all)
    })
    .await;
    let overdue = &all[3];
    assert_eq!(reported(overdue), Some(InvoiceStatus::Overdue));
    assert_eq!(overdue.subject, "invoices/stripe/test/in_open");
    assert_eq!((overdue.endpoint.as_str(), overdue.receipt.as_str()), ("stripe/test", ""));
    assert_eq!(overdue.provider_event_type, "tollgate.invoice.overdue");
    assert_eq!(overdue.references.as_ref().expect("references").invoice_number, "INV-open");
    assert!(overdue.live);
    let day: Timestamp = "2026-11-01T00:00:00Z".parse().expect("a time");
    assert_eq!(overdue.occurred_at.map(|at| at.seconds), Some(day.as_second()));

    // A late report of the open invoice, a restart and another look give no second one.
    post(&gateway, "invoice.sent", "open", issued).await;
    let gateway = gateway.restart().await;
    let client = gateway.client().await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(events(&client).await.len(), 5);
    assert_eq!(status(&client, "invoices/stripe/test/in_open").await, "OVERDUE");
    assert_eq!(status(&client, "invoices/stripe/test/in_paid").await, "PAID");

    // Money beats it, even money that came before the day and is told of late.
    post(&gateway, "invoice.paid", "open", issued).await;
    assert_eq!(status(&client, "invoices/stripe/test/in_open").await, "PAID");
}
