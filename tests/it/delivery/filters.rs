//! Which events a subscription gets, and from where on.

use jiff::Timestamp;
use serde_json::json;
use tollgate_client::proto::start_position::At;
use tollgate_client::proto::{
    CreateSubscriptionRequest, GetSubscriptionRequest, Headline, ListEventsRequest, LiveMode,
    Money, SeekRequest, SubjectKind, SubscribeRequest, WatchEventsRequest, WatchPaymentsRequest,
};
use tollgate_client::{Filter, StartPosition};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::gateway::{StripeEvent, TestGateway, config};
use crate::subscriber::{Subscriber, from_earliest, sequence};

const OTHERS: &str = r#"
    [[endpoints]]
    provider = "stripe"
    name = "second"
    secrets.webhook_secret = "whsec_test_0123456789abcdef"
    [[endpoints]]
    provider = "adyen"
    name = "shop"
    secrets.hmac_key_hex = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
"#;

/// A log in which each event differs from the others in what filters look at.
async fn filled() -> TestGateway {
    let gateway = TestGateway::with(config(OTHERS)).await;
    let north = json!({ "shop": "north", "desk": "1" });
    let first = StripeEvent { metadata: north, ..StripeEvent::paid("evt_1", "pi_a") };
    gateway.accept_event(&first).await;
    // The same status again.
    gateway.accept_event(&StripeEvent::paid("evt_2", "pi_a")).await;
    let dollars =
        StripeEvent { amount: 5000, currency: "usd", ..StripeEvent::paid("evt_3", "pi_b") };
    let mut request = gateway.signed(dollars.body());
    request.path = "/webhooks/stripe/second".to_owned();
    assert_eq!(gateway.post(request).await, 200);
    let failed = StripeEvent {
        event_type: "payment_intent.payment_failed",
        amount: 300,
        currency: "jpy",
        ..StripeEvent::paid("evt_4", "pi_c")
    };
    gateway.accept_event(&failed).await;
    let test = StripeEvent { live: false, ..StripeEvent::paid("evt_5", "pi_d") };
    gateway.accept_event(&test).await;
    gateway.accept("invoice.finalized", "one").await;
    let adyen = gateway.sample_of("adyen/shop", "AUTHORISATION", "one");
    assert_eq!(gateway.post(adyen).await, 200);
    gateway
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_condition_of_a_filter_lets_through_what_it_says() {
    let none = Filter::default;
    let euros = |minor_units| Some(Money { minor_units, currency: "EUR".to_owned() });
    let mode = |mode: LiveMode| Filter { live_mode: mode.into(), ..none() };
    let metadata = |pairs: &[(&str, &str)]| Filter {
        metadata: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ..none()
    };
    let subject = |name: &str| Filter { subjects: words(&[name]), ..none() };
    let table: Vec<(&str, Filter, &[i64])> = vec![
        ("none", none(), &[1, 2, 3, 4, 6, 7]),
        ("test", mode(LiveMode::Test), &[5]),
        ("all", mode(LiveMode::All), &[1, 2, 3, 4, 5, 6, 7]),
        ("provider", Filter { providers: words(&["adyen"]), ..none() }, &[7]),
        ("providers", Filter { providers: words(&["adyen", "square"]), ..none() }, &[7]),
        ("endpoint", Filter { endpoints: words(&["stripe/second"]), ..none() }, &[3]),
        ("kind", Filter { kinds: vec![SubjectKind::Invoice.into()], ..none() }, &[6]),
        ("status", Filter { statuses: words(&["FAILED", "AUTHORIZED"]), ..none() }, &[4, 7]),
        ("headline", Filter { headlines: vec![Headline::Paid.into()], ..none() }, &[1, 2, 3]),
        ("changes", Filter { changes_only: true, ..none() }, &[1, 3, 4, 6, 7]),
        ("currency", Filter { currencies: words(&["USD", "JPY"]), ..none() }, &[3, 4]),
        ("lower-case", Filter { currencies: words(&["usd"]), ..none() }, &[3]),
        (
            "minimum met",
            Filter {
                minimum_amount: euros(1250),
                endpoints: words(&["stripe/test"]),
                kinds: vec![SubjectKind::Payment.into()],
                ..none()
            },
            &[1, 2],
        ),
        (
            "minimum missed",
            Filter {
                minimum_amount: euros(1251),
                endpoints: words(&["stripe/test"]),
                kinds: vec![SubjectKind::Payment.into()],
                ..none()
            },
            &[],
        ),
        ("subject", subject("payments/stripe/test/pi_c"), &[4]),
        ("metadata", metadata(&[("shop", "north")]), &[1]),
        ("all metadata", metadata(&[("shop", "north"), ("desk", "2")]), &[]),
        (
            "both",
            Filter { providers: words(&["stripe"]), statuses: words(&["FAILED"]), ..none() },
            &[4],
        ),
    ];
    let gateway = filled().await;
    let client = gateway.client().await;
    for (number, (what, filter, expected)) in table.into_iter().enumerate() {
        let listed = ListEventsRequest { filter: Some(filter.clone()), ..Default::default() };
        let listed = client.events().list_events(listed).await.expect(what).into_inner();
        let listed: Vec<i64> = listed.events.iter().map(|event| event.sequence).collect();
        assert_eq!(listed, expected, "listed: {what}");
        let mut request = from_earliest(&format!("filter{number}"));
        (request.filter, request.auto_ack) = (Some(filter), true);
        let mut subscriber = Subscriber::open(&client, request).await;
        let delivered = subscriber.until_caught_up().await;
        // Payments do not wait for each other, so only the set is certain.
        let mut delivered: Vec<i64> = delivered.iter().map(sequence).collect();
        delivered.sort_unstable();
        assert_eq!(delivered, expected, "delivered: {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_says_nothing_sensible_is_refused_by_field() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    let table: Vec<(&str, Filter)> = vec![
        ("filter.statuses", Filter { statuses: words(&["SETTLED"]), ..Default::default() }),
        ("filter.currencies", Filter { currencies: words(&["XTS1"]), ..Default::default() }),
        ("filter.subjects", Filter { subjects: words(&["pi_1"]), ..Default::default() }),
        ("filter.kinds", Filter { kinds: vec![99], ..Default::default() }),
        ("filter.headlines", Filter { headlines: vec![77], ..Default::default() }),
        ("filter.live_mode", Filter { live_mode: 9, ..Default::default() }),
        ("filter.providers", Filter { providers: vec![String::new(); 101], ..Default::default() }),
        (
            "filter.minimum_amount",
            Filter {
                minimum_amount: Some(Money { minor_units: 1, currency: "?".to_owned() }),
                ..Default::default()
            },
        ),
    ];
    for (field, filter) in table {
        let mut request = from_earliest("crm");
        request.filter = Some(filter);
        let refused = Subscriber::try_open(&client, request).await.err().expect(field);
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        let details = refused.get_details_bad_request().expect("details");
        assert_eq!(details.field_violations[0].field, field);
        assert!(!details.field_violations[0].description.is_empty());
    }
}

fn at(at: At) -> Option<StartPosition> {
    Some(StartPosition { at: Some(at), log_epoch: String::new() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_begins_where_it_is_told_to() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    gateway.accept_event(&StripeEvent::paid("evt_2", "pi_2")).await;
    let between = Timestamp::now();
    gateway.accept_event(&StripeEvent::paid("evt_3", "pi_3")).await;
    let time =
        prost_types::Timestamp { seconds: between.as_second(), nanos: between.subsec_nanosecond() };
    let table = [
        ("earliest", at(At::Earliest(true)), vec![1, 2, 3]),
        ("latest", at(At::Latest(true)), vec![]),
        ("default", None, vec![]),
        ("sequence", at(At::Sequence(1)), vec![2, 3]),
        ("beginning", at(At::Sequence(0)), vec![1, 2, 3]),
        ("time", at(At::Time(time)), vec![3]),
    ];
    let mut subscribers = Vec::new();
    for (name, start, expected) in table {
        let request = SubscribeRequest {
            subscription: name.to_owned(),
            create_if_missing: true,
            auto_ack: true,
            start,
            ..SubscribeRequest::default()
        };
        let mut subscriber = Subscriber::open(&client, request).await;
        let got: Vec<i64> = subscriber.until_caught_up().await.iter().map(sequence).collect();
        assert_eq!(got, expected, "{name}");
        subscribers.push(subscriber);
    }
    gateway.accept_event(&StripeEvent::paid("evt_4", "pi_4")).await;
    for mut subscriber in subscribers {
        assert_eq!(sequence(&subscriber.delivery().await), 4, "{}", subscriber.name);
    }
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().expect("a reason");
    assert_eq!(info.domain, "tollgate.dev");
    info.reason
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_another_epoch_is_refused_everywhere() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    drop(Subscriber::open(&client, from_earliest("crm")).await);
    let stale = || StartPosition { at: Some(At::Sequence(1)), log_epoch: "of-another-log".into() };
    let mut calls = client.subscriptions();
    let create = CreateSubscriptionRequest {
        subscription: "new".to_owned(),
        start: Some(stale()),
        ..CreateSubscriptionRequest::default()
    };
    let seek = SeekRequest { subscription: "crm".to_owned(), to: Some(stale()) };
    let mut subscribe = from_earliest("newer");
    subscribe.start = Some(stale());
    let watch = WatchEventsRequest { filter: None, start: Some(stale()) };
    let payments = WatchPaymentsRequest {
        after_sequence: 1,
        log_epoch: "of-another-log".to_owned(),
        ..WatchPaymentsRequest::default()
    };
    let refusals = [
        calls.create_subscription(create).await.expect_err("create"),
        calls.seek(seek).await.expect_err("seek"),
        calls.subscribe(subscribe).await.expect_err("subscribe"),
        client.events().watch_events(watch).await.expect_err("watch"),
        client.payments().watch_payments(payments).await.expect_err("watch payments"),
    ];
    for refused in refusals {
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), "LOG_EPOCH_CHANGED");
    }
    // The epoch that the gateway told is its own, and stays over a restart.
    let get = || GetSubscriptionRequest { subscription: "crm".to_owned() };
    let told = calls.get_subscription(get()).await.expect("told").into_inner();
    let epoch = told.subscription.expect("told").log_epoch;
    let gateway = gateway.restart().await;
    let mut calls = gateway.client().await.subscriptions();
    let to = Some(StartPosition { at: Some(At::Sequence(1)), log_epoch: epoch });
    let moved = calls.seek(SeekRequest { subscription: "crm".to_owned(), to }).await;
    assert_eq!(moved.expect("moved").into_inner().subscription.expect("told").position, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_after_the_end_of_the_log_is_refused() {
    let gateway = TestGateway::start().await;
    let client = gateway.client().await;
    gateway.accept_event(&StripeEvent::paid("evt_1", "pi_1")).await;
    let mut request = from_earliest("crm");
    request.start = at(At::Sequence(2));
    let refused = Subscriber::try_open(&client, request).await.err().expect("refused");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::OutOfRange, "POSITION_AFTER_HEAD")
    );
    let mut request = from_earliest("crm");
    request.start = at(At::Sequence(-1));
    let refused = Subscriber::try_open(&client, request).await.err().expect("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    // Nothing was created by either.
    let get = GetSubscriptionRequest { subscription: "crm".to_owned() };
    let missing = client.subscriptions().get_subscription(get).await.expect_err("none");
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "SUBSCRIPTION_NOT_FOUND")
    );
}
