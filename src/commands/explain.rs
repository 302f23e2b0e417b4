//! `tollgate explain`: why a payment has its status, from the raw request to the record that a consumer
//! wrote. In comes the name of a payment, an invoice or the like; out come its events in order, the receipt
//! that each was translated from and which secret verified it, what each changed or why it changed nothing,
//! and where each subscription stands with it. It only reads.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate_client::Client;
use tollgate_client::proto::{
    Event, GetReceiptRequest, GetTimelineRequest, ListSubscriptionsRequest, Payment, Receipt,
    Subscription, TimelineDelivery, TimelineEntry,
};

use super::connection::{Connection, refused};
use super::{output, wire_json, wire_text};

/// How many events are asked for at a time.
const PAGE_EVENTS: i32 = 100;
/// How many characters of a digest are shown to people.
const SHOWN_DIGEST: usize = 12;

/// Say why a payment has its status
///
/// Shows each of its events with the receipt that it was translated from and the secret that verified it,
/// what it changed or why it changed nothing, and what each subscription did with it.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  tollgate explain payments/stripe/main/pi_1001
  tollgate explain invoices/stripe/main/in_7 --json")]
pub struct Args {
    /// Its resource name, for example payments/stripe/main/pi_1001
    #[arg(value_name = "PAYMENT")]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// All that is known of a subject.
struct Story {
    payment: Payment,
    entries: Vec<TimelineEntry>,
    receipts: BTreeMap<String, Receipt>,
    subscriptions: Vec<Subscription>,
}

/// Tells what is known.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::block_on(async {
        let client = args.connection.connect().await?;
        let story = Story::read(&client, &args.name).await?;
        match args.json {
            true => output::json(&story.as_json())?,
            false => story.tell()?,
        }
        Ok(())
    })
}

impl Story {
    async fn read(client: &Client, name: &str) -> anyhow::Result<Story> {
        let mut story = Story {
            payment: Payment::default(),
            entries: Vec::new(),
            receipts: BTreeMap::new(),
            subscriptions: subscriptions(client).await?,
        };
        let mut page_token = String::new();
        loop {
            let name = name.to_owned();
            let request = GetTimelineRequest { name, page_size: PAGE_EVENTS, page_token };
            let page = client.payments().get_timeline(request).await.map_err(refused)?.into_inner();
            story.payment = page.payment.unwrap_or_default();
            story.entries.extend(page.entries);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        for entry in &story.entries {
            let Some(event) = entry.event.as_ref().filter(|event| !event.receipt.is_empty()) else {
                continue;
            };
            if !story.receipts.contains_key(&event.receipt) {
                let request = GetReceiptRequest { name: event.receipt.clone(), raw: false };
                let got = client.receipts().get_receipt(request).await.map_err(refused)?;
                let receipt = got.into_inner().receipt.unwrap_or_default();
                story.receipts.insert(event.receipt.clone(), receipt);
            }
        }
        Ok(story)
    }

    /// The event that gave the status that it has now.
    fn cause(&self) -> Option<&Event> {
        let events = self.entries.iter().filter_map(|entry| entry.event.as_ref());
        events.rev().find(|event| {
            event
                .change
                .as_ref()
                .is_some_and(|change| !change.superseded && change.previous != change.current)
        })
    }

    fn tell(&self) -> std::io::Result<()> {
        let payment = &self.payment;
        let headline = short(payment.headline().as_str_name(), "HEADLINE_");
        output::line(&format!("{} is {} ({headline})", payment.name, payment.status))?;
        if let Some(cause) = self.cause() {
            output::line(&format!(
                "  since {}, by {} ({})",
                cause
                    .occurred_at
                    .as_ref()
                    .map_or(String::new(), |at| wire_text::time_to_second(at.seconds)),
                cause.name,
                kind(cause)
            ))?;
        }
        for (what, amount) in amounts(payment) {
            output::line(&format!("  {what} {amount}"))?;
        }
        if !payment.failure_code.is_empty() || !payment.failure_message.is_empty() {
            output::line(&format!(
                "  last failure: {} {}",
                payment.failure_code, payment.failure_message
            ))?;
        }
        if !payment.live {
            output::line("  it is of the test mode")?;
        }
        for entry in &self.entries {
            output::line("")?;
            self.tell_event(entry)?;
        }
        Ok(())
    }

    fn tell_event(&self, entry: &TimelineEntry) -> std::io::Result<()> {
        let Some(event) = &entry.event else { return Ok(()) };
        let at = event.occurred_at.as_ref();
        output::line(&format!(
            "{}  {}  {}  {}",
            event.name,
            at.map_or(String::new(), |at| wire_text::time_to_second(at.seconds)),
            kind(event),
            wire_text::change(event)
        ))?;
        if let Some(why) = why_nothing_changed(event) {
            output::line(&format!("  {why}"))?;
        }
        match self.receipts.get(&event.receipt) {
            Some(receipt) => output::line(&format!(
                "  {} of {}, received {}, verified by {}, digest {}",
                receipt.name,
                receipt.endpoint,
                receipt
                    .received_at
                    .as_ref()
                    .map_or(String::new(), |at| wire_text::time(at.seconds, at.nanos)),
                receipt.verified_by,
                cut(&receipt.digest)
            ))?,
            None => output::line(&format!(
                "  of the gateway itself ({}), which no receipt tells of",
                event.endpoint
            ))?,
        }
        for subscription in &self.subscriptions {
            let delivery =
                entry.deliveries.iter().find(|one| one.subscription == subscription.name);
            let name = subscription.name.trim_start_matches("subscriptions/");
            output::line(&format!("  {name}: {}", told(subscription, event, delivery)))?;
        }
        Ok(())
    }

    fn as_json(&self) -> Value {
        let events: Vec<Value> = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry, entry.event.as_ref()?)))
            .map(|(entry, event)| {
                let deliveries: Vec<Value> = entry.deliveries.iter().map(delivery_json).collect();
                json!({
                    "event": wire_json::event(event),
                    "whyNothingChanged": why_nothing_changed(event),
                    "receipt": self.receipts.get(&event.receipt).map(wire_json::receipt),
                    "deliveries": deliveries,
                })
            })
            .collect();
        let payment = &self.payment;
        let amounts: BTreeMap<&str, String> = amounts(payment).into_iter().collect();
        json!({
            "name": payment.name,
            "status": payment.status,
            "headline": payment.headline().as_str_name(),
            "live": payment.live,
            "amounts": amounts,
            "cause": self.cause().map(|event| &event.name),
            "events": events,
            "subscriptions": self
                .subscriptions
                .iter()
                .map(wire_json::subscription)
                .collect::<Vec<Value>>(),
        })
    }
}

async fn subscriptions(client: &Client) -> anyhow::Result<Vec<Subscription>> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListSubscriptionsRequest { page_size: 0, page_token };
        let page = client.subscriptions().list_subscriptions(request).await.map_err(refused)?;
        let page = page.into_inner();
        all.extend(page.subscriptions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// The amounts that are known, as people write them.
fn amounts(payment: &Payment) -> Vec<(&'static str, String)> {
    let Some(amounts) = &payment.amounts else { return Vec::new() };
    [
        ("total", &amounts.total),
        ("paid", &amounts.paid),
        ("refunded", &amounts.refunded),
        ("disputed", &amounts.disputed),
        ("fee", &amounts.fee),
    ]
    .into_iter()
    .filter_map(|(what, money)| Some((what, wire_text::money(money.as_ref()?))))
    .collect()
}

/// The provider's name of an event, with its id.
fn kind(event: &Event) -> String {
    format!("{} {}", event.provider_event_type, event.provider_event_id)
}

fn why_nothing_changed(event: &Event) -> Option<&'static str> {
    let change = event.change.as_ref()?;
    if change.superseded {
        return Some("it changed nothing: what it says was known already, or something newer was");
    }
    let same = change.previous == change.current;
    same.then_some("the status stays; what else it says was taken in")
}

/// What a subscription did with an event.
fn told(subscription: &Subscription, event: &Event, delivery: Option<&TimelineDelivery>) -> String {
    let Some(delivery) = delivery else { return "its filter does not take it".to_owned() };
    let attempts = || match delivery.failed_attempts {
        0 => String::new(),
        number => format!(" after {}", output::counted(number.into(), "failed attempt")),
    };
    let reason = || match delivery.reason.is_empty() {
        true => String::new(),
        false => format!(": {}", delivery.reason),
    };
    match delivery.state.as_str() {
        "acked" => {
            let at = delivery.acked_at.as_ref().map(|at| wire_text::time_to_second(at.seconds));
            let parts = [
                at.map(|at| format!(" {at}")).unwrap_or_default(),
                filled(", wrote ", &delivery.external_ref),
                filled(", ", &delivery.outcome),
            ];
            format!("acknowledged{}", parts.concat())
        }
        "held_back" => format!("held back{}{}", attempts(), reason()),
        "dead_letter" => format!(
            "dead letter{}{}; `tollgate dead-letters replay {} {}` delivers it again",
            attempts(),
            reason(),
            subscription.name.trim_start_matches("subscriptions/"),
            event.sequence
        ),
        "waiting" if subscription.paused => "waits: the subscription is paused".to_owned(),
        "waiting" => format!(
            "waits: the subscription is at {} of {}, with {} out",
            subscription.position, subscription.head, subscription.outstanding
        ),
        other => other.replace('_', " "),
    }
}

fn filled(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

fn delivery_json(delivery: &TimelineDelivery) -> Value {
    let acked_at = delivery.acked_at.as_ref().map(|at| wire_text::time(at.seconds, at.nanos));
    json!({
        "subscription": delivery.subscription,
        "state": delivery.state,
        "ackedAt": acked_at,
        "externalRef": delivery.external_ref,
        "outcome": delivery.outcome,
        "failedAttempts": delivery.failed_attempts,
        "reason": delivery.reason,
    })
}

fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

fn cut(digest: &str) -> &str {
    digest.get(..SHOWN_DIGEST).unwrap_or(digest)
}
