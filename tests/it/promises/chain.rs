//! P9: the log is tamper-evident. The hashes are computed here again from what the documents of the chain
//! say and from the events on the wire alone, sharing no code with the gateway.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use sqlx::{Connection, Row, SqliteConnection};
use tollgate::grpc::convert::CODEC;
use tollgate::model::Sequence;
use tollgate::store::chain::{BEGINNING, Break, check};
use tollgate::store::{ChainEntry, Store};
use tollgate_client::proto::{
    GetReceiptRequest, GetStatsRequest, ListEventsRequest, Money, event::Fact,
};
use tollgate_client::{Event, Filter};

use crate::gateway::{StripeEvent, TestGateway, open_store};

/// Events of every kind of subject, with failures, refunds, disputes and personal fields.
const TYPES: &[&str] = &[
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "charge.succeeded",
    "charge.refunded",
    "refund.created",
    "charge.dispute.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.overdue",
    "payout.paid",
    "payout.failed",
    "quote.accepted",
    "checkout.session.completed",
    "payment_link.created",
];

async fn filled() -> TestGateway {
    let gateway = TestGateway::start().await;
    for event_type in TYPES {
        gateway.accept(event_type, "one").await;
    }
    let test = StripeEvent { live: false, ..StripeEvent::paid("evt_test", "pi_test") };
    gateway.accept_event(&test).await;
    gateway.accept("payment_intent.created", "two").await;
    gateway
}

async fn all_events(gateway: &TestGateway) -> Vec<Event> {
    let filter = Some(Filter { live_mode: 3, ..Filter::default() });
    let request = ListEventsRequest { filter, page_size: 1000, ..ListEventsRequest::default() };
    let client = gateway.client().await;
    client.events().list_events(request).await.expect("events").into_inner().events
}

/// The canonical encoding, as documented.
#[derive(Default)]
struct Encoding(Vec<u8>);

impl Encoding {
    fn put(&mut self, name: &str, value: &str) {
        self.0.push(name.len() as u8);
        self.0.extend(name.as_bytes());
        self.0.extend((value.len() as u32).to_be_bytes());
        self.0.extend(value.as_bytes());
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(name, value);
        }
    }

    fn money(&mut self, name: &str, money: Option<&Money>) {
        if let Some(money) = money {
            self.put(name, &format!("{} {}", money.minor_units, money.currency));
        }
    }

    fn time(&mut self, name: &str, time: Option<prost_types::Timestamp>) {
        let time = time.expect("a time");
        let seconds = jiff::Timestamp::from_second(time.seconds).expect("in range");
        let day_and_time = seconds.strftime("%Y-%m-%dT%H:%M:%S");
        self.put(name, &format!("{day_and_time}.{:06}Z", time.nanos / 1000));
    }
}

fn short(word: &str, prefix: &str) -> String {
    word.strip_prefix(prefix).expect("a prefixed word").to_owned()
}

fn public_encoding(event: &Event, commitment: &[u8]) -> Vec<u8> {
    let mut all = Encoding::default();
    let references = event.references.clone().unwrap_or_default();
    let change = event.change.clone().expect("a change");
    all.text("endpoint", &event.endpoint);
    all.text("provider_event_id", &event.provider_event_id);
    all.text("provider_event_type", &event.provider_event_type);
    all.time("occurred_at", event.occurred_at);
    all.time("received_at", event.received_at);
    all.text("subject", &event.subject);
    all.text("references.payment", &references.payment);
    all.text("references.invoice", &references.invoice);
    all.text("references.invoice_number", &references.invoice_number);
    all.text("references.order", &references.order);
    all.text("live", if event.live { "true" } else { "" });
    all.text("receipt", &event.receipt);
    all.text("receipt_digest", &event.receipt_digest);
    all.text("change.previous", &change.previous);
    all.text("change.current", &change.current);
    all.text("change.superseded", if change.superseded { "true" } else { "" });
    match event.fact.as_ref().expect("a fact") {
        Fact::Payment(fact) => {
            let amounts = fact.amounts.clone().unwrap_or_default();
            all.text("status", &short(fact.status().as_str_name(), "PAYMENT_STATUS_"));
            all.money("amount", fact.amount.as_ref());
            all.money("total", amounts.total.as_ref());
            all.money("paid", amounts.paid.as_ref());
            all.money("refunded", amounts.refunded.as_ref());
            all.money("disputed", amounts.disputed.as_ref());
            all.money("fee", amounts.fee.as_ref());
            all.text("failure_code", &fact.failure_code);
            all.text("method", &fact.method);
            all.text("refund", &fact.refund);
            all.text("dispute", &fact.dispute);
        }
        Fact::Invoice(fact) => {
            all.text("status", &short(fact.status().as_str_name(), "INVOICE_STATUS_"));
            all.money("total", fact.total.as_ref());
            all.money("paid", fact.paid.as_ref());
            all.money("refunded", fact.refunded.as_ref());
            all.money("balance", fact.balance.as_ref());
            all.text("due_date", &fact.due_date);
        }
        Fact::BankTransaction(fact) => {
            let word = fact.status().as_str_name();
            all.text("status", &short(word, "BANK_TRANSACTION_STATUS_"));
            all.money("amount", fact.amount.as_ref());
            all.text("failure_code", &fact.failure_code);
        }
        Fact::CustomerAction(fact) => {
            all.text("status", &short(fact.action().as_str_name(), "CUSTOMER_ACTION_"));
            all.money("amount", fact.amount.as_ref());
        }
    }
    all.text("commitment", &hex::encode(commitment));
    all.0
}

fn personal_encoding(event: &Event) -> Vec<u8> {
    let mut all = Encoding::default();
    let references = event.references.clone().unwrap_or_default();
    all.text("references.customer", &references.customer);
    all.text("references.customer_name", &references.customer_name);
    all.text("references.email", &references.email);
    let mut metadata: Vec<_> = references.metadata.iter().collect();
    metadata.sort();
    for (key, value) in metadata {
        all.put("references.metadata.key", key);
        all.put("references.metadata.value", value);
    }
    match event.fact.as_ref().expect("a fact") {
        Fact::Payment(fact) => all.text("failure_message", &fact.failure_message),
        Fact::Invoice(_) => {}
        Fact::BankTransaction(fact) => {
            all.text("failure_message", &fact.failure_message);
            all.text("counterparty", &fact.counterparty);
            all.text("remittance", &fact.remittance);
        }
        Fact::CustomerAction(fact) => all.text("detail", &fact.detail),
    }
    all.0
}

async fn stored_chain(gateway: &TestGateway) -> Vec<ChainEntry> {
    let store = open_store(&gateway.store_path()).await;
    let entries = store.chain(Sequence(0), 1000).await.expect("the chain");
    store.close().await;
    entries
}

/// What the library's check says about the whole chain.
fn verdict(entries: &[ChainEntry]) -> Result<(Sequence, [u8; 32]), Break> {
    let mut at = BEGINNING;
    for entry in entries {
        check(CODEC, &mut at, entry)?;
    }
    Ok(at)
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_each_hash_follows_from_the_event_and_the_hash_before() {
    let mut gateway = filled().await;
    gateway = gateway.restart().await;
    gateway.accept("payment_intent.succeeded", "two").await;
    let events = all_events(&gateway).await;
    assert_eq!(events.len(), TYPES.len() + 3);
    let stats = gateway.client().await.admin().get_stats(GetStatsRequest {}).await;
    let stats = stats.expect("stats").into_inner();
    gateway.stop().await;
    let entries = stored_chain(&gateway).await;
    let mut previous = [0_u8; 32];
    for (event, entry) in events.iter().zip(&entries) {
        let salt = entry.salt.expect("not erased");
        let mut mac = Hmac::<Sha256>::new_from_slice(&salt).expect("any length");
        mac.update(&personal_encoding(event));
        let commitment: [u8; 32] = mac.finalize().into_bytes().into();
        assert_eq!(commitment, entry.commitment, "{}: commitment", event.name);
        let digest = Sha256::digest(public_encoding(event, &commitment));
        let mut hasher = Sha256::new();
        hasher.update(previous);
        hasher.update(event.sequence.to_be_bytes());
        hasher.update(digest);
        previous = hasher.finalize().into();
        assert_eq!(
            event.hash,
            hex::encode(previous),
            "{} {}",
            event.name,
            event.provider_event_type
        );
    }
    assert_eq!((stats.head_hash, stats.head), (hex::encode(previous), events.len() as i64));
    assert_eq!(verdict(&entries), Ok((Sequence(events.len() as i64), previous)));
    let salts: std::collections::BTreeSet<_> = entries.iter().map(|entry| entry.salt).collect();
    assert_eq!(salts.len(), entries.len(), "each event has a salt of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_an_events_receipt_digest_is_that_of_the_stored_request() {
    let gateway = filled().await;
    let client = gateway.client().await;
    for event in all_events(&gateway).await {
        let request = GetReceiptRequest { name: event.receipt.clone(), raw: true };
        let receipt = client.receipts().get_receipt(request).await.expect("kept").into_inner();
        let receipt = receipt.receipt.expect("a receipt");
        let raw = receipt.raw.expect("raw");
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(raw.method.as_bytes());
        part(raw.path.as_bytes());
        for header in &raw.headers {
            part(header.name.as_bytes());
            part(header.value.as_bytes());
        }
        part(&raw.body);
        let digest = hex::encode(hasher.finalize());
        assert_eq!((&digest, &digest), (&receipt.digest, &event.receipt_digest), "{}", event.name);
    }
}

/// Replaces bytes in every block of events, behind the gateway's back.
async fn tamper(gateway: &TestGateway, from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len(), "lengths would break the framing");
    let url = format!("sqlite://{}", gateway.store_path().display());
    let mut connection = SqliteConnection::connect(&url).await.expect("opens");
    let rows = sqlx::query("SELECT first_sequence, block FROM event_blocks");
    let rows = rows.fetch_all(&mut connection).await.expect("blocks");
    let mut changed = 0;
    for row in rows {
        let mut block: Vec<u8> = row.get(1);
        let places: Vec<usize> = block
            .windows(from.len())
            .enumerate()
            .filter(|(_, window)| *window == from)
            .map(|(at, _)| at)
            .collect();
        for at in &places {
            block[*at..*at + from.len()].copy_from_slice(to);
        }
        changed += places.len();
        let update = sqlx::query("UPDATE event_blocks SET block = ? WHERE first_sequence = ?");
        let update = update.bind(block).bind(row.get::<i64, _>(0));
        update.execute(&mut connection).await.expect("changed");
    }
    connection.close().await.expect("closed");
    changed
}

async fn execute(gateway: &TestGateway, statement: &'static str) {
    let url = format!("sqlite://{}", gateway.store_path().display());
    let mut connection = SqliteConnection::connect(&url).await.expect("opens");
    sqlx::query(statement).execute(&mut connection).await.expect("executed");
    connection.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_what_was_changed_in_the_store_is_found() {
    let mut gateway = filled().await;
    gateway.stop().await;
    let sound = stored_chain(&gateway).await;
    let anchor = verdict(&sound).expect("sound");
    // A public field: the payment that the fourth to last event is about.
    assert!(tamper(&gateway, b"pi_two", b"pi_tow").await > 0);
    assert!(matches!(verdict(&stored_chain(&gateway).await), Err(Break::Event { .. })));
    tamper(&gateway, b"pi_tow", b"pi_two").await;
    // A personal field, which only the commitment covers.
    assert!(tamper(&gateway, b"customer@example.com", b"customer@example.org").await > 0);
    assert!(matches!(verdict(&stored_chain(&gateway).await), Err(Break::Personal { .. })));
    tamper(&gateway, b"customer@example.org", b"customer@example.com").await;
    assert_eq!(verdict(&stored_chain(&gateway).await), Ok(anchor), "as it was");
    // Personal fields may be erased with their salts, and the chain still holds.
    execute(&gateway, "UPDATE event_blocks SET salts = zeroblob(length(salts))").await;
    let erased = stored_chain(&gateway).await;
    assert!(erased.iter().all(|entry| entry.salt.is_none()));
    assert_eq!(verdict(&erased), Ok(anchor));
    // An event that is gone leaves a gap; the last ones gone do not fit an anchor that was kept outside.
    let statement = "DELETE FROM event_blocks WHERE first_sequence = \
                     (SELECT max(first_sequence) FROM event_blocks)";
    execute(&gateway, statement).await;
    assert_ne!(verdict(&stored_chain(&gateway).await), Ok(anchor));
    execute(&gateway, "DELETE FROM event_blocks WHERE first_sequence = 3").await;
    let gap = Break::Gap { expected: Sequence(3), found: Sequence(4) };
    assert_eq!(verdict(&stored_chain(&gateway).await), Err(gap));
}
