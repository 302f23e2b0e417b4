//! P6: any order, duplication or delay of a payment's events ends in the same state.

use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tollgate_client::Client;
use tollgate_client::proto::{GetEventRequest, GetPaymentRequest, Headline, Payment, event::Fact};

use crate::gateway::{TestGateway, config};

/// A payment's life at Stripe, in the order in which it happens.
const LIFE: &[&str] = &[
    "payment_intent.created",
    "payment_intent.requires_action",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.succeeded",
    "charge.succeeded",
    "refund.created",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.closed",
];
/// How many orders are tried: each goes to an endpoint of its own, so that amounts and ids are the same.
const ORDERS: usize = 16;

fn began() -> Timestamp {
    Timestamp::from_second(1_790_000_000).expect("a time")
}

async fn payment(client: &Client, name: &str) -> Payment {
    let request = GetPaymentRequest { name: name.to_owned() };
    let found = client.payments().get_payment(request).await.expect("it is known").into_inner();
    found.payment.expect("a payment")
}

/// What must be the same whatever the order: all but the names and places.
fn state(mut payment: Payment) -> Payment {
    payment.name.clear();
    (payment.first_sequence, payment.last_sequence) = (0, 0);
    payment
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_late_older_webhook_does_not_take_a_status_backwards() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let at = |second| Timestamp::from_second(began().as_second() + second).expect("a time");
    let paid = gateway.sample_at("payment_intent.succeeded", "late", at(60));
    assert_eq!(gateway.post(paid).await, 200);
    let name = "payments/stripe/test/pi_late";
    let before = payment(&client, name).await;
    for (number, event_type) in
        ["payment_intent.processing", "payment_intent.payment_failed", "payment_intent.created"]
            .into_iter()
            .enumerate()
    {
        let older = gateway.sample_at(event_type, "late", at(30 - number as i64));
        assert_eq!(gateway.post(older).await, 200, "a late event is no error");
        let name = format!("events/{}", number + 2);
        let event = client.events().get_event(GetEventRequest { name }).await.expect("stored");
        let event = event.into_inner().event.expect("an event");
        let change = event.change.expect("a change");
        assert_eq!((change.previous.as_str(), change.current.as_str()), ("PAID", "PAID"));
        assert_eq!(change.headline(), Headline::Paid);
        if event_type != "payment_intent.payment_failed" {
            assert!(change.superseded, "{event_type} changed nothing");
        }
        let Some(Fact::Payment(fact)) = event.fact else { panic!("not a payment") };
        assert_ne!(fact.status().as_str_name(), "PAYMENT_STATUS_PAID", "it says what it reports");
    }
    let after = payment(&client, name).await;
    assert_eq!((after.status.as_str(), after.headline()), ("PAID", Headline::Paid));
    assert_eq!(after.amounts, before.amounts);
    assert_eq!(after.updated_at, before.updated_at, "the newest fact is still the newest");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_every_order_of_a_payments_events_ends_in_the_same_state() {
    let endpoints: String = (0..ORDERS)
        .map(|number| {
            format!(
                "[[endpoints]]\nprovider = \"stripe\"\nname = \"order{number}\"\n\
                 secrets.webhook_secret = \"whsec_order\"\n"
            )
        })
        .collect();
    let mut gateway = TestGateway::with(config(&endpoints)).await;
    let mut random = StdRng::seed_from_u64(6);
    let mut orders: Vec<Vec<usize>> = Vec::new();
    for number in 0..ORDERS {
        let mut order: Vec<usize> = (0..LIFE.len()).collect();
        match number {
            0 => {}
            1 => order.reverse(),
            _ => {
                // Some come twice.
                order.extend([number % LIFE.len(), (number * 3) % LIFE.len()]);
                order.shuffle(&mut random);
            }
        }
        orders.push(order);
    }
    let longest = orders.iter().map(Vec::len).max().expect("some");
    for turn in 0..longest {
        for (number, order) in orders.iter().enumerate() {
            let Some(step) = order.get(turn) else { continue };
            let at = Timestamp::from_second(began().as_second() + *step as i64).expect("a time");
            let endpoint = format!("stripe/order{number}");
            let request = gateway.sample_of_at(&endpoint, LIFE[*step], "life", at);
            assert_eq!(gateway.post(request).await, 200);
        }
        if turn == LIFE.len() / 2 {
            gateway = gateway.restart().await;
        }
    }
    let client = gateway.client().await;
    let name = |number: usize| format!("payments/stripe/order{number}/pi_life");
    let expected = state(payment(&client, &name(0)).await);
    assert_eq!(expected.event_count, LIFE.len() as i64);
    assert_ne!(expected.status, "PENDING");
    for (number, order) in orders.iter().enumerate() {
        let found = state(payment(&client, &name(number)).await);
        assert_eq!(found, expected, "in the order {order:?}");
    }
}
