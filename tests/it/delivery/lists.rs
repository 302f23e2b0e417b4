//! Lists with opaque page tokens, the watch of payments, timelines, and what refusals carry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use tollgate_client::proto::nack::Kind;
use tollgate_client::proto::watch_payments_response::Message;
use tollgate_client::proto::{
    Ack, AcknowledgeRequest, CreateSubscriptionRequest, GetEventRequest, GetPaymentRequest,
    GetTimelineRequest, ListDeadLettersRequest, ListEventsRequest, ListPaymentsRequest,
    ListReceiptsRequest, ListSubscriptionsRequest, SubjectKind, WatchPaymentsRequest,
};
use tollgate_client::{Client, Filter};
use tonic::Code;
use tonic_types::StatusExt;

use crate::gateway::{StripeEvent, TestGateway};
use crate::subscriber::{Subscriber, create, existing, from_earliest, impatient, soon};

const EVENTS: usize = 25;

async fn filled() -> (TestGateway, Client) {
    let gateway = TestGateway::start().await;
    for number in 1..=EVENTS {
        let (id, payment) = (format!("evt_{number}"), format!("pi_{number:02}"));
        gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
    }
    let client = gateway.client().await;
    (gateway, client)
}

/// Follows page tokens to the end; `page` gives a page's items and the next token.
async fn pages<T, F: Future<Output = (Vec<T>, String)>>(page: impl Fn(String) -> F) -> Vec<Vec<T>> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (items, next) = page(token).await;
        all.push(items);
        if next.is_empty() {
            return all;
        }
        token = next;
        assert!(all.len() < 100, "the pages end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_go_on_page_by_page_without_repeats_or_gaps() {
    let (_gateway, client) = filled().await;
    let events = pages(|page_token| async {
        let request = ListEventsRequest { page_size: 10, page_token, ..Default::default() };
        let page = client.events().list_events(request).await.expect("a page").into_inner();
        let sequences = page.events.iter().map(|event| event.sequence).collect();
        (sequences, page.next_page_token)
    })
    .await;
    let sequences: Vec<i64> = events.concat();
    assert!(sequences.iter().copied().eq(1..=EVENTS as i64), "{events:?}");
    assert_eq!(events[0].len(), 10);
    let payments = pages(|page_token| async {
        let request = ListPaymentsRequest { page_size: 10, page_token, ..Default::default() };
        let page = client.payments().list_payments(request).await.expect("a page").into_inner();
        let names = page.payments.iter().map(|payment| payment.name.clone()).collect();
        (names, page.next_page_token)
    })
    .await;
    let names: Vec<String> = payments.concat();
    let expected: Vec<String> =
        (1..=EVENTS).map(|number| format!("payments/stripe/test/pi_{number:02}")).collect();
    assert_eq!(names, expected);
    let receipts = pages(|page_token| async {
        let request = ListReceiptsRequest { page_size: 10, page_token, ..Default::default() };
        let page = client.receipts().list_receipts(request).await.expect("a page").into_inner();
        let names = page.receipts.iter().map(|receipt| receipt.name.clone()).collect();
        (names, page.next_page_token)
    })
    .await;
    let newest_first: Vec<String> =
        (1..=EVENTS).rev().map(|number| format!("receipts/{number}")).collect();
    assert_eq!(receipts.concat(), newest_first);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_subscriptions_and_dead_letters_have_pages_too() {
    let (_gateway, client) = filled().await;
    for number in 0..7 {
        create(&client, &format!("s{number}"), impatient()).await;
    }
    let subscriptions = pages(|page_token| async {
        let request = ListSubscriptionsRequest { page_size: 3, page_token };
        let page = client.subscriptions().list_subscriptions(request).await.expect("a page");
        let page = page.into_inner();
        let names = page.subscriptions.iter().map(|one| one.name.clone()).collect();
        (names, page.next_page_token)
    })
    .await;
    let expected: Vec<String> = (0..7).map(|number| format!("subscriptions/s{number}")).collect();
    assert_eq!(subscriptions.concat(), expected);
    let mut subscriber = Subscriber::open(&client, existing("s0")).await;
    for _ in 0..5 {
        let delivery = subscriber.delivery().await;
        subscriber.nack(&delivery, Kind::DeadLetter, "no").await;
    }
    let dead = pages(|page_token| async {
        let subscription = "s0".to_owned();
        let request = ListDeadLettersRequest { subscription, page_size: 2, page_token };
        let page = client.subscriptions().list_dead_letters(request).await.expect("a page");
        let page = page.into_inner();
        let names = page.dead_letters.iter().map(|one| one.name.clone()).collect();
        (names, page.next_page_token)
    })
    .await;
    let expected: Vec<String> =
        (1..=5).map(|number| format!("subscriptions/s0/deadLetters/{number}")).collect();
    assert_eq!(dead.concat(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_list_or_of_nobody_is_refused() {
    let (_gateway, client) = filled().await;
    let request = ListEventsRequest { page_size: 5, ..Default::default() };
    let page = client.events().list_events(request).await.expect("a page").into_inner();
    let of_events = page.next_page_token;
    for token in [of_events.as_str(), "garbage", "!", &"A".repeat(5000)] {
        let page_token = token.to_owned();
        let payments = ListPaymentsRequest { page_token: page_token.clone(), ..Default::default() };
        let receipts = ListReceiptsRequest { page_token: page_token.clone(), ..Default::default() };
        let name = "payments/stripe/test/pi_01".to_owned();
        let timeline = GetTimelineRequest { name, page_token, ..Default::default() };
        let refusals = [
            client.payments().list_payments(payments).await.expect_err("payments"),
            client.receipts().list_receipts(receipts).await.expect_err("receipts"),
            client.payments().get_timeline(timeline).await.expect_err("timeline"),
        ];
        for refused in refusals {
            assert_eq!(refused.code(), Code::InvalidArgument, "{token}");
            let details = refused.get_details_bad_request().expect("details");
            assert_eq!(details.field_violations[0].field, "page_token");
        }
    }
    for page_size in [-1, 1001] {
        let request = ListEventsRequest { page_size, ..Default::default() };
        let refused = client.events().list_events(request).await.expect_err("no size");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

/// A token that a client made up: `list`, a line break, and a number.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_token_breaks_nothing() {
    use base64::Engine;
    let (_gateway, client) = filled().await;
    for number in [i64::MAX, i64::MIN, -1] {
        let token = |list: &str| {
            let text = format!("{list}\n{number}");
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
        };
        let events = ListEventsRequest { page_token: token("events"), ..Default::default() };
        let payments = ListPaymentsRequest { page_token: token("payments"), ..Default::default() };
        let receipts = ListReceiptsRequest { page_token: token("receipts"), ..Default::default() };
        let name = "payments/stripe/test/pi_01".to_owned();
        let timeline =
            GetTimelineRequest { name, page_token: token("timeline"), ..Default::default() };
        let codes = [
            soon(client.events().list_events(events)).await.err().map(|status| status.code()),
            soon(client.payments().list_payments(payments)).await.err().map(|status| status.code()),
            soon(client.receipts().list_receipts(receipts)).await.err().map(|status| status.code()),
            soon(client.payments().get_timeline(timeline)).await.err().map(|status| status.code()),
        ];
        for code in codes.into_iter().flatten() {
            assert_eq!(code, Code::InvalidArgument, "{number}: {codes:?}");
        }
        let name = format!("events/{number}");
        let missing = client.events().get_event(GetEventRequest { name }).await.expect_err("none");
        assert_eq!(missing.code(), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_payments_take_kinds_and_statuses() {
    let (gateway, client) = filled().await;
    gateway.accept("invoice.finalized", "one").await;
    gateway.accept("payment_intent.payment_failed", "failed").await;
    let names = |request: ListPaymentsRequest| {
        let client = client.clone();
        async move {
            let page = client.payments().list_payments(request).await.expect("a page");
            let payments = page.into_inner().payments;
            payments.into_iter().map(|payment| payment.name).collect::<Vec<String>>()
        }
    };
    let invoices =
        ListPaymentsRequest { kinds: vec![SubjectKind::Invoice.into()], ..Default::default() };
    assert_eq!(names(invoices).await, ["invoices/stripe/test/in_one"]);
    let failed = ListPaymentsRequest { statuses: vec!["FAILED".to_owned()], ..Default::default() };
    assert_eq!(names(failed).await, ["payments/stripe/test/pi_failed"]);
}

/// Watches until every payment has all of its events; gives the rows' counts by name.
async fn watch_payments(client: Client, payments: usize, events_each: i64) {
    let stream = client.payments().watch_payments(WatchPaymentsRequest::default()).await;
    let mut stream = stream.expect("a stream").into_inner();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut complete = false;
    let mut finished = BTreeSet::new();
    while finished.len() < payments || !complete {
        let message = soon(stream.message()).await.expect("it goes on").expect("no end");
        match message.message.expect("a message") {
            Message::Payment(payment) => {
                let before = last.insert(payment.name.clone(), payment.last_sequence);
                let newer = before.is_none_or(|before| before < payment.last_sequence);
                assert!(newer, "{} repeated: {before:?}", payment.name);
                if payment.event_count == events_each {
                    finished.insert(payment.name);
                }
            }
            Message::SnapshotComplete(_) => {
                assert!(!complete, "once");
                complete = true;
            }
            Message::Heartbeat(_) => {}
            Message::Draining(end) => panic!("{end:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_payments_shows_each_state_once_and_misses_none() {
    const PAYMENTS: usize = 230;
    const EVENTS_EACH: i64 = 3;
    let gateway = Arc::new(TestGateway::start().await);
    let mut watches = Vec::new();
    for turn in 0..EVENTS_EACH {
        let posts = (0..8).map(|task| {
            let gateway = gateway.clone();
            tokio::spawn(async move {
                for number in (task..PAYMENTS).step_by(8) {
                    let (id, payment) = (format!("evt_{turn}_{number}"), format!("pi_{number}"));
                    gateway.accept_event(&StripeEvent::paid(&id, &payment)).await;
                }
            })
        });
        let posts: Vec<_> = posts.collect();
        // Each begins while events are being committed.
        for _ in 0..2 {
            let client = gateway.client().await;
            watches.push(tokio::spawn(watch_payments(client, PAYMENTS, EVENTS_EACH)));
        }
        for done in join_all(posts).await {
            done.expect("accepted");
        }
    }
    for done in soon(join_all(watches)).await {
        done.expect("each payment's last row is its state");
    }
    // From a position on, only changes.
    let client = gateway.client().await;
    let after_sequence = PAYMENTS as i64 * EVENTS_EACH;
    let request = WatchPaymentsRequest { after_sequence, ..Default::default() };
    let mut stream =
        client.payments().watch_payments(request).await.expect("a stream").into_inner();
    gateway.accept_event(&StripeEvent::paid("evt_more", "pi_more")).await;
    loop {
        let message = soon(stream.message()).await.expect("it goes on").expect("no end");
        match message.message.expect("a message") {
            Message::Payment(payment) => {
                assert_eq!(payment.name, "payments/stripe/test/pi_more");
                break;
            }
            Message::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_tells_what_each_subscription_did() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    for number in 1..=3 {
        gateway.accept_event(&StripeEvent::paid(&format!("evt_{number}"), "pi_1")).await;
    }
    let mut crm = Subscriber::open(&client, from_earliest("crm")).await;
    let first = crm.delivery().await;
    let ack = Ack {
        ack_id: first.ack_id.clone(),
        external_ref: "deal-42".to_owned(),
        outcome: "created".to_owned(),
    };
    let request = AcknowledgeRequest { subscription: "crm".to_owned(), acks: vec![ack] };
    crm.calls.acknowledge(request).await.expect("taken");
    let second = crm.delivery().await;
    crm.nack(&second, Kind::Retry, "the CRM is down").await;
    let mut mail = Subscriber::open(&client, from_earliest("mail")).await;
    let first = mail.delivery().await;
    mail.nack(&first, Kind::DeadLetter, "no address").await;
    // One that does not take the events is not in the timeline.
    let elsewhere = CreateSubscriptionRequest {
        subscription: "elsewhere".to_owned(),
        filter: Some(Filter { providers: vec!["adyen".to_owned()], ..Default::default() }),
        ..Default::default()
    };
    client.subscriptions().create_subscription(elsewhere).await.expect("created");
    let name = "payments/stripe/test/pi_1".to_owned();
    let get = GetTimelineRequest { name, ..Default::default() };
    let timeline = client.payments().get_timeline(get).await.expect("a timeline").into_inner();
    assert_eq!(timeline.payment.expect("the payment").event_count, 3);
    let told: Vec<Vec<(String, String)>> = timeline
        .entries
        .iter()
        .map(|entry| {
            let of = |one: &tollgate_client::proto::TimelineDelivery| {
                (one.subscription.clone(), one.state.clone())
            };
            entry.deliveries.iter().map(of).collect()
        })
        .collect();
    let row = |crm: &str, mail: &str| {
        vec![
            ("subscriptions/crm".to_owned(), crm.to_owned()),
            ("subscriptions/mail".to_owned(), mail.to_owned()),
        ]
    };
    let after_gap = told[1][1].1.clone();
    assert!(["waiting", "held_back"].contains(&after_gap.as_str()), "{after_gap}");
    assert_eq!(told[0], row("acked", "dead_letter"));
    assert_eq!(told[1], row("held_back", &after_gap));
    assert_eq!(told[2], row("held_back", &after_gap));
    let done = &timeline.entries[0].deliveries[0];
    assert_eq!((done.external_ref.as_str(), done.outcome.as_str()), ("deal-42", "created"));
    assert!(done.acked_at.is_some());
    assert_eq!(timeline.entries[0].deliveries[1].reason, "no address");
    let held = &timeline.entries[1].deliveries[0];
    assert_eq!((held.failed_attempts, held.reason.as_str()), (1, "the CRM is down"));
    // Page by page.
    let name = "payments/stripe/test/pi_1".to_owned();
    let get = GetTimelineRequest { name, page_size: 2, ..Default::default() };
    let page = client.payments().get_timeline(get.clone()).await.expect("a page").into_inner();
    assert_eq!(page.entries.len(), 2);
    let get = GetTimelineRequest { page_token: page.next_page_token, ..get };
    let page = client.payments().get_timeline(get).await.expect("a page").into_inner();
    assert_eq!((page.entries.len(), page.next_page_token.as_str()), (1, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_carry_a_stable_reason_and_the_field() {
    let (_gateway, client) = filled().await;
    create(&client, "crm", impatient()).await;
    let create = |name: &str| CreateSubscriptionRequest {
        subscription: name.to_owned(),
        ..CreateSubscriptionRequest::default()
    };
    let mut calls = client.subscriptions();
    let get = |name: &str| GetPaymentRequest { name: name.to_owned() };
    let missing = get("payments/stripe/test/pi_nobody");
    let refusals = [
        (
            calls.create_subscription(create("crm")).await.expect_err("exists"),
            Code::AlreadyExists,
            "SUBSCRIPTION_EXISTS",
            "",
        ),
        (
            calls.create_subscription(create("No Name")).await.expect_err("no name"),
            Code::InvalidArgument,
            "INVALID_FIELD",
            "subscription",
        ),
        (
            client.payments().get_payment(get("pi_1")).await.expect_err("no name"),
            Code::InvalidArgument,
            "INVALID_FIELD",
            "name",
        ),
        (
            client.payments().get_payment(missing).await.expect_err("missing"),
            Code::NotFound,
            "PAYMENT_NOT_FOUND",
            "",
        ),
        (
            client
                .events()
                .get_event(GetEventRequest { name: "events/99".to_owned() })
                .await
                .expect_err("missing"),
            Code::NotFound,
            "EVENT_NOT_FOUND",
            "",
        ),
    ];
    for (refused, code, reason, field) in refusals {
        assert_eq!(refused.code(), code, "{refused:?}");
        let info = refused.get_details_error_info().expect("a reason");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "tollgate.dev"));
        let details = refused.get_details_bad_request();
        let violations = details.map(|details| details.field_violations).unwrap_or_default();
        let fields: Vec<&str> = violations.iter().map(|one| one.field.as_str()).collect();
        let expected: Vec<&str> = if field.is_empty() { vec![] } else { vec![field] };
        assert_eq!(fields, expected);
    }
    let long =
        Ack { ack_id: "x".to_owned(), external_ref: "y".repeat(257), outcome: String::new() };
    let request = AcknowledgeRequest { subscription: "crm".to_owned(), acks: vec![long] };
    let refused = calls.acknowledge(request).await.expect_err("too long");
    let details = refused.get_details_bad_request().expect("details");
    assert_eq!(details.field_violations[0].field, "acks.external_ref");
    let request =
        AcknowledgeRequest { subscription: "crm".to_owned(), acks: vec![Ack::default(); 1001] };
    let refused = calls.acknowledge(request).await.expect_err("too many");
    assert_eq!(refused.code(), Code::InvalidArgument);
}
