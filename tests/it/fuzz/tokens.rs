//! What callers send back to the gateway, made up: ack ids, page tokens, start positions and names. Each
//! is answered, in time, with an error that says so; nothing is settled by it and nothing stops.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tollgate_client::proto::start_position::At;
use tollgate_client::proto::*;
use tollgate_client::{Client, StartPosition};
use tonic::Code;

use crate::gateway::TestGateway;

/// How long any call may take.
const PATIENCE: Duration = Duration::from_secs(30);
const LISTS: &[&str] =
    &["events", "payments", "timeline", "receipts", "subscriptions", "deadLetters", "none"];
const PLACES: &[&str] = &[
    "",
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1e9",
    "crm",
    "\u{0}",
];

#[tokio::test(flavor = "multi_thread")]
async fn made_up_ack_ids_settle_nothing() {
    let gateway = TestGateway::start().await;
    gateway.accept("payment_intent.succeeded", "one").await;
    let client = gateway.client().await;
    let earliest = StartPosition::earliest();
    let crm = client.subscription("crm").create_if_missing(Filter::default(), earliest);
    let mut crm = crm.open();
    let held = crm.next().await.expect("a delivery").expect("no error");
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut ids: Vec<String> = (0..500).map(|_| ack_id(&mut random, held.ack_id())).collect();
    ids.retain(|id| id != held.ack_id());

    let mut subscriptions = client.subscriptions();
    let acks = ids.iter().map(|id| Ack { ack_id: id.clone(), ..Default::default() });
    let acks = AcknowledgeRequest { subscription: "crm".to_owned(), acks: acks.collect() };
    let nacks = ids.iter().map(|id| Nack { ack_id: id.clone(), ..Default::default() });
    let nacks = NackRequest { subscription: "crm".to_owned(), nacks: nacks.collect() };
    let extend = ExtendDeadlinesRequest {
        subscription: "crm".to_owned(),
        ack_ids: ids.clone(),
        extension: None,
    };
    let acked = in_time(subscriptions.acknowledge(acks)).await.expect("an answer").results;
    let nacked = in_time(subscriptions.nack(nacks)).await.expect("an answer").results;
    let extended = in_time(subscriptions.extend_deadlines(extend)).await.expect("an answer");
    for result in acked.iter().chain(&nacked).chain(&extended.results) {
        let status = result.status();
        let refused = matches!(status, AckStatus::Unknown | AckStatus::Stale);
        assert!(refused, "{:?} was answered {status:?}", result.ack_id);
    }
    assert_eq!(acked.len(), ids.len());
    assert_eq!(held.ack().await.expect("an answer"), AckStatus::Applied, "it was left alone");
}

/// Text of any kind, or an ack id with another subscription, sequence or lease.
fn ack_id(random: &mut StdRng, real: &str) -> String {
    match random.random_range(0..4) {
        0 => (0..random.random_range(0..60)).map(|_| random.random::<char>()).collect(),
        1 => {
            let bytes: Vec<u8> = (0..random.random_range(0..40)).map(|_| random.random()).collect();
            URL_SAFE_NO_PAD.encode(bytes)
        }
        2 => {
            let mut bytes = URL_SAFE_NO_PAD.decode(real).expect("an ack id");
            let numbers = [i64::MIN, -1, 0, 1, 2, i64::MAX];
            let number = numbers[random.random_range(0..numbers.len())].to_be_bytes();
            let at = 8 * random.random_range(0..3);
            bytes[at..at + 8].copy_from_slice(&number);
            URL_SAFE_NO_PAD.encode(bytes)
        }
        _ => {
            let mut bytes = URL_SAFE_NO_PAD.decode(real).expect("an ack id");
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
            URL_SAFE_NO_PAD.encode(bytes)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_page_tokens_are_refused() {
    let gateway = TestGateway::start().await;
    gateway.accept("payment_intent.succeeded", "one").await;
    let client = gateway.client().await;
    let create = CreateSubscriptionRequest { subscription: "crm".to_owned(), ..Default::default() };
    client.subscriptions().create_subscription(create).await.expect("created");
    let garbage = ["!".to_owned(), "AAAA".to_owned(), "\u{fffd}".to_owned(), "a".repeat(5000)];
    let mut tokens: Vec<(&str, String)> = garbage.map(|token| ("none", token)).into();
    for list in LISTS {
        for place in PLACES {
            tokens.push((list, URL_SAFE_NO_PAD.encode(format!("{list}\n{place}"))));
            tokens.push(("none", URL_SAFE_NO_PAD.encode(format!("{list}{place}"))));
        }
    }
    for (of, token) in tokens {
        for (list, answer) in list_everything(&client, &token).await {
            // One of its own form may be answered, with a page or with none.
            let code = answer.err().map(|status| status.code());
            let sane = code == Some(Code::InvalidArgument) || (code.is_none() && list == of);
            assert!(sane, "{list} with {token:?} of {of}: {code:?}");
        }
    }
    gateway.accept("payment_intent.succeeded", "two").await;
}

type Answers = Vec<(&'static str, Result<(), tonic::Status>)>;

async fn list_everything(client: &Client, token: &str) -> Answers {
    let page_token = || token.to_owned();
    let subscription = || "crm".to_owned();
    let events = ListEventsRequest { page_token: page_token(), ..Default::default() };
    let payments = ListPaymentsRequest { page_token: page_token(), ..Default::default() };
    let name = "payments/stripe/test/pi_one".to_owned();
    let timeline = GetTimelineRequest { name, page_token: page_token(), ..Default::default() };
    let receipts = ListReceiptsRequest { page_token: page_token(), ..Default::default() };
    let all = ListSubscriptionsRequest { page_token: page_token(), ..Default::default() };
    let dead = ListDeadLettersRequest {
        subscription: subscription(),
        page_token: page_token(),
        ..Default::default()
    };
    vec![
        ("events", in_time(client.events().list_events(events)).await.map(drop)),
        ("payments", in_time(client.payments().list_payments(payments)).await.map(drop)),
        ("timeline", in_time(client.payments().get_timeline(timeline)).await.map(drop)),
        ("receipts", in_time(client.receipts().list_receipts(receipts)).await.map(drop)),
        ("subscriptions", in_time(client.subscriptions().list_subscriptions(all)).await.map(drop)),
        ("deadLetters", in_time(client.subscriptions().list_dead_letters(dead)).await.map(drop)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_positions_are_refused() {
    let gateway = TestGateway::start().await;
    gateway.accept("payment_intent.succeeded", "one").await;
    let client = gateway.client().await;
    let create = CreateSubscriptionRequest { subscription: "crm".to_owned(), ..Default::default() };
    client.subscriptions().create_subscription(create).await.expect("created");
    let time = |seconds, nanos| At::Time(prost_types::Timestamp { seconds, nanos });
    let positions = [
        (At::Sequence(-1), ""),
        (At::Sequence(i64::MIN), ""),
        (At::Sequence(2), ""),
        (At::Sequence(i64::MAX), ""),
        (At::Earliest(false), ""),
        (At::Latest(false), ""),
        (time(i64::MAX, 0), ""),
        (time(i64::MIN, 0), ""),
        (time(0, i32::MAX), ""),
        (At::Sequence(1), "another-log"),
        (At::Earliest(true), "\u{0}"),
    ];
    for (number, (at, log_epoch)) in positions.into_iter().enumerate() {
        let start = Some(StartPosition { at: Some(at), log_epoch: log_epoch.to_owned() });
        for (call, code) in begin_everywhere(&client, start.clone(), number).await {
            let refused = matches!(
                code,
                Some(Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition)
            );
            assert!(refused, "{call} at {start:?}: {code:?}");
        }
    }
    // Numbers that are no position but a bound are answered with nothing, or refused.
    for after_sequence in [i64::MIN, -1, i64::MAX] {
        let list = ListEventsRequest { after_sequence, ..Default::default() };
        let code = in_time(client.events().list_events(list)).await.err().map(|error| error.code());
        let sane = matches!(code, None | Some(Code::InvalidArgument | Code::OutOfRange));
        assert!(sane, "after {after_sequence}: {code:?}");
        let watch = WatchPaymentsRequest { after_sequence, ..Default::default() };
        let code = in_time(client.payments().watch_payments(watch)).await.err();
        let code = code.map(|error| error.code());
        let sane = matches!(code, None | Some(Code::InvalidArgument | Code::OutOfRange));
        assert!(sane, "after {after_sequence}: {code:?}");
        let sequences = vec![after_sequence];
        let subscription = "crm".to_owned();
        let replay = ReplayDeadLettersRequest { subscription, sequences, all: false };
        let replayed = in_time(client.subscriptions().replay_dead_letters(replay)).await;
        assert_eq!(replayed.map_or(0, |done| done.replayed), 0);
        for name in [format!("events/{after_sequence}"), format!("{after_sequence}")] {
            let got = in_time(client.events().get_event(GetEventRequest { name })).await;
            let code = got.expect_err("there is none").code();
            assert!(matches!(code, Code::InvalidArgument | Code::NotFound), "{code:?}");
        }
    }
    gateway.accept("payment_intent.succeeded", "two").await;
}

/// What each call that takes a position answers.
async fn begin_everywhere(
    client: &Client,
    start: Option<StartPosition>,
    number: usize,
) -> Vec<(&'static str, Option<Code>)> {
    let mut subscriptions = client.subscriptions();
    let name = format!("new-{number}");
    let subscribe = SubscribeRequest {
        subscription: name.clone(),
        create_if_missing: true,
        start: start.clone(),
        ..Default::default()
    };
    let create = CreateSubscriptionRequest {
        subscription: name,
        start: start.clone(),
        ..Default::default()
    };
    let seek = SeekRequest { subscription: "crm".to_owned(), to: start.clone() };
    let watch = WatchEventsRequest { start, ..Default::default() };
    let code = |status: tonic::Status| status.code();
    vec![
        ("Subscribe", in_time(subscriptions.subscribe(subscribe)).await.err().map(code)),
        ("Create", in_time(subscriptions.create_subscription(create)).await.err().map(code)),
        ("Seek", in_time(subscriptions.seek(seek)).await.err().map(code)),
        ("WatchEvents", in_time(client.events().watch_events(watch)).await.err().map(code)),
    ]
}

/// The answer of a call, which must come.
async fn in_time<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, tonic::Status> {
    let answer = tokio::time::timeout(PATIENCE, call).await.expect("an answer in time");
    answer.map(tonic::Response::into_inner)
}
