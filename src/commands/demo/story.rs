//! The story that the demo tells, step by step. Each step posts webhooks over HTTP, waits for what the
//! subscribers report, compares it with what is promised and prints one line. The first difference ends
//! the story with what was expected and what was seen.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp};
use tollgate_client::proto::{
    CreatePaymentLinkRequest, GetPaymentRequest, GetStatsRequest, GetStatsResponse,
    GetSubscriptionRequest, GetTimelineRequest,
};
use tollgate_client::{Client, Event};

use super::audience::{Connector, Crm, Handled, Outcome, SUBSCRIPTION, Trouble, Watcher};
use super::stage::{LINK_HOST, Stage};
use crate::commands::output::{counted, line};
use crate::commands::send::samples::{self, Sample};
use crate::commands::send::{Answer, Poster};
use crate::commands::verify::{Anchor, verify};
use crate::commands::wire_text::{amount, change, money};
use crate::model::Sequence;
use crate::providers::{PROVIDERS, Provider, adyen, square, stripe};
use crate::receipt::Request;

const STRIPE: &Provider = &stripe::PROVIDER;
const SQUARE: &Provider = &square::PROVIDER;
const ADYEN: &Provider = &adyen::PROVIDER;
/// The payment that most of the story is about.
const FIRST: &str = "1001";
/// How much of an event type is shown.
const MAX_TYPE_CHARS: usize = 38;

/// The story so far.
pub struct Story<'a> {
    stage: &'a mut Stage,
    poster: Poster,
    client: Client,
    watcher: Watcher,
    connector: Connector,
    crm: Crm,
    steps: usize,
    /// How many events the log must have now.
    events: i64,
    /// The hash of the last event, as the watcher saw it.
    last_hash: String,
}

impl<'a> Story<'a> {
    /// Connects the subscribers.
    pub async fn begin(stage: &'a mut Stage) -> anyhow::Result<Story<'a>> {
        let poster = Poster::new(&stage.webhooks_url())?;
        let client = Client::connect(stage.grpc_url()).await?;
        let watcher = Watcher::begin(&client);
        let crm = Crm::default();
        let connector = Connector::begin(&client, &crm);
        let last_hash = String::new();
        Ok(Story { stage, poster, client, watcher, connector, crm, steps: 0, events: 0, last_hash })
    }

    /// Tells all of it; the gateway is stopped at the end.
    pub async fn tell(mut self) -> anyhow::Result<()> {
        self.step("A payment at Stripe is begun, paid and partly refunded")?;
        self.webhook(STRIPE, "payment_intent.created", FIRST, "begins PENDING").await?;
        self.webhook(STRIPE, "payment_intent.succeeded", FIRST, "PENDING -> PAID").await?;
        self.webhook(STRIPE, "refund.updated", FIRST, "PAID -> PARTIALLY_REFUNDED").await?;
        self.step("An invoice is sent and paid")?;
        self.webhook(STRIPE, "invoice.finalized", "1002", "begins OPEN").await?;
        self.webhook(STRIPE, "invoice.paid", "1002", "OPEN -> PAID").await?;
        self.step("Adyen reserves a payment and takes it")?;
        self.webhook(ADYEN, "AUTHORISATION", "1003", "begins AUTHORIZED").await?;
        self.webhook(ADYEN, "CAPTURE", "1003", "AUTHORIZED -> PAID").await?;
        self.busy_crm().await?;
        self.duplicate().await?;
        self.late().await?;
        self.forged().await?;
        self.restart().await?;
        self.look_back().await?;
        self.every_source().await?;
        self.link().await?;
        self.prove().await
    }

    fn step(&mut self, title: &str) -> anyhow::Result<()> {
        self.steps += 1;
        Ok(line(&format!("\n{:>2}  {title}", self.steps))?)
    }

    /// Posts a webhook that must become the next event, with this change, and be acknowledged.
    async fn webhook(
        &mut self,
        provider: &'static Provider,
        event_type: &str,
        seed: &str,
        expected: &str,
    ) -> anyhow::Result<()> {
        let event = self.posted(provider, event_type, seed, expected).await?;
        let handled = self.connector.next().await?;
        check("the connector's event", handled.sequence, event.sequence)?;
        check("its attempt", handled.attempt, 1)?;
        show(event_type, "200", &event, &said(&handled))
    }

    /// Posts a webhook that must become the next event, with this change.
    async fn posted(
        &mut self,
        provider: &'static Provider,
        event_type: &str,
        seed: &str,
        expected: &str,
    ) -> anyhow::Result<Event> {
        let now = Timestamp::now();
        let sample = Sample { event_type, seed, event_id: None, occurred_at: now };
        let request = self.request(provider, sample)?;
        self.accepted(provider, request).await?;
        self.next_event(expected).await
    }

    fn request(&self, provider: &Provider, sample: Sample<'_>) -> anyhow::Result<Request> {
        sample.request(provider, self.stage.endpoint(provider)?, Timestamp::now())
    }

    async fn accepted(&self, provider: &Provider, request: Request) -> anyhow::Result<()> {
        let answer = self.poster.post(request).await?;
        let (status, body) =
            (provider.replies.accepted.status, provider.replies.accepted.body.to_owned());
        check("the answer", answer, Answer { status, body })
    }

    async fn next_event(&mut self, expected: &str) -> anyhow::Result<Event> {
        let event = self.watcher.next().await?;
        self.events += 1;
        check("the event's sequence", event.sequence, self.events)?;
        check("what it changed", change(&event).as_str(), expected)?;
        self.last_hash.clone_from(&event.hash);
        Ok(event)
    }

    async fn busy_crm(&mut self) -> anyhow::Result<()> {
        self.step("The CRM is busy: one delivery is given back and comes again")?;
        self.webhook(SQUARE, "payment.created", "1004", "begins AUTHORIZED").await?;
        self.connector.trouble(Trouble::Busy);
        let taken = self.posted(SQUARE, "payment.updated", "1004", "AUTHORIZED -> PAID").await?;
        let refused = self.connector.next().await?;
        check("the connector's event", refused.sequence, taken.sequence)?;
        ensure!(
            matches!(refused.outcome, Outcome::Nacked(_)),
            "expected the delivery to be given back, saw {refused:?}"
        );
        show("payment.updated", "200", &taken, &said(&refused))?;
        // Another payment does not wait for the one that is stuck.
        let other = self.posted(STRIPE, "payment_intent.succeeded", "1005", "begins PAID").await?;
        let mut handled = [self.connector.next().await?, self.connector.next().await?];
        for one in &handled {
            match one.sequence == taken.sequence {
                true => show("payment.updated", "", &taken, &said(one))?,
                false => show("payment_intent.succeeded", "200", &other, &said(one))?,
            }
        }
        handled.sort_by_key(|handled| handled.sequence);
        let seen = handled.map(|handled| (handled.sequence, handled.attempt));
        check("events and attempts", seen, [(taken.sequence, 2), (other.sequence, 1)])
    }

    async fn duplicate(&mut self) -> anyhow::Result<()> {
        self.step("Stripe delivers a webhook twice: it is accepted, and stays one event")?;
        let event_type = "payment_intent.succeeded";
        let now = Timestamp::now();
        let sample = Sample { event_type, seed: FIRST, event_id: None, occurred_at: now };
        self.accepted(STRIPE, self.request(STRIPE, sample)?).await?;
        let stats = self.stats().await?;
        check("the end of the log", stats.head, self.events)?;
        ensure!(self.watcher.is_idle(), "expected no second event, saw one");
        told(event_type, "200", &format!("no new event: the log still ends at {}", stats.head))
    }

    async fn late(&mut self) -> anyhow::Result<()> {
        self.step("A webhook of yesterday comes late: it is kept, and takes no status back")?;
        let event_type = "payment_intent.processing";
        let yesterday = Timestamp::now() - SignedDuration::from_hours(24);
        let sample = Sample { event_type, seed: FIRST, event_id: None, occurred_at: yesterday };
        self.accepted(STRIPE, self.request(STRIPE, sample)?).await?;
        let expected = "late PENDING: stays PARTIALLY_REFUNDED";
        let event = self.next_event(expected).await?;
        let handled = self.connector.next().await?;
        check("the connector's event", handled.sequence, event.sequence)?;
        show(event_type, "200", &event, &said(&handled))
    }

    async fn forged(&mut self) -> anyhow::Result<()> {
        self.step("A forged webhook, one byte changed after signing, is refused")?;
        let before = self.stats().await?;
        let event_type = "payment_intent.succeeded";
        let now = Timestamp::now();
        let sample = Sample { event_type, seed: "1006", event_id: None, occurred_at: now };
        let request = self.request(STRIPE, sample)?;
        let forged = samples::forge(STRIPE, self.stage.endpoint(STRIPE)?, &request, now)?;
        check("the answer's status", self.poster.post(forged).await?.status, 401)?;
        let after = self.stats().await?;
        check("what is kept", (after.head, after.receipts), (before.head, before.receipts))?;
        told(event_type, "401", "nothing of it is kept")
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.step("The connector crashes with an event in hand, and the gateway restarts")?;
        self.connector.trouble(Trouble::Crash);
        let event_type = "payment_intent.succeeded";
        let event = self.posted(STRIPE, event_type, "1007", "begins PAID").await?;
        let left = self.connector.next().await?;
        check("what became of the delivery", &left.outcome, &Outcome::Left)?;
        show(event_type, "200", &event, &said(&left))?;
        let started = Instant::now();
        self.stage.stop().await.context("expected a clean stop")?;
        self.stage.start().await?;
        let milliseconds = started.elapsed().as_millis();
        told(
            "the gateway",
            "",
            &format!("stopped cleanly and started again in {milliseconds} ms"),
        )?;

        self.client = Client::connect(self.stage.grpc_url()).await?;
        let connector = Connector::begin(&self.client, &self.crm);
        let crashed = std::mem::replace(&mut self.connector, connector);
        crashed.ended().await?;
        let handled = self.connector.next().await?;
        check("the first event after the restart", handled.sequence, event.sequence)?;
        show(event_type, "", &event, &said(&handled))?;
        let request = GetSubscriptionRequest { subscription: SUBSCRIPTION.to_owned() };
        let got = self.client.subscriptions().get_subscription(request).await;
        let position = got
            .map_err(tollgate_client::Error::from)?
            .into_inner()
            .subscription
            .map(|subscription| subscription.position);
        check("the subscription's position", position, Some(self.events))?;
        ensure!(self.connector.is_idle(), "expected nothing that was acked to come again");
        told("what was acked", "", "does not come again")?;
        self.webhook(STRIPE, "charge.dispute.created", "1007", "PAID -> DISPUTED").await
    }

    async fn look_back(&mut self) -> anyhow::Result<()> {
        self.step("What became of the first payment")?;
        let endpoint = &self.stage.endpoint(STRIPE)?.name;
        let name = format!("payments/{endpoint}/pi_{FIRST}");
        let request = GetPaymentRequest { name: name.clone() };
        let got = self.client.payments().get_payment(request).await;
        let payment = got.map_err(tollgate_client::Error::from)?.into_inner().payment;
        let payment = payment.context("expected the payment")?;
        check("its status", payment.status.as_str(), "PARTIALLY_REFUNDED")?;
        let amounts = payment.amounts.unwrap_or_default();
        let shown = |amount: Option<_>| amount.as_ref().map(money).unwrap_or_default();
        let (paid, refunded) = (shown(amounts.paid), shown(amounts.refunded));
        told(&payment.status, "", &format!("{paid} paid, {refunded} given back"))?;

        let request = GetTimelineRequest { name, ..GetTimelineRequest::default() };
        let got = self.client.payments().get_timeline(request).await;
        let entries = got.map_err(tollgate_client::Error::from)?.into_inner().entries;
        check("the number of its events", entries.len(), 4)?;
        for delivery in entries.iter().flat_map(|entry| &entry.deliveries) {
            check("the delivery's state", delivery.state.as_str(), "acked")?;
            check("the record", delivery.external_ref.as_str(), "deal-1")?;
        }
        told("its timeline", "", "4 events, each acked by the CRM as deal-1")
    }

    /// One event of each source, also of those that send ids alone and are asked for the rest.
    async fn every_source(&mut self) -> anyhow::Result<()> {
        self.step("Every source: each webhook verified, translated, delivered and acked")?;
        for provider in PROVIDERS {
            let endpoint = self.stage.endpoint(provider)?.clone();
            let event_type = samples::paid_event(provider, &endpoint);
            let now = Timestamp::now();
            let sample = Sample { event_type, seed: "2001", event_id: None, occurred_at: now };
            let sample = sample.whole(provider, &endpoint, now)?;
            self.stage.api().add(sample.answers.clone());
            self.accepted(provider, sample.request).await?;
            let expected = samples::events(provider, &endpoint, event_type, "2001", now);
            ensure!(expected > 0, "{event_type} of {} reports nothing", provider.title);
            for _ in 0..expected {
                let event = self.watcher.next().await?;
                self.events += 1;
                check("the event's sequence", event.sequence, self.events)?;
                check("its endpoint", event.endpoint.as_str(), endpoint.name.as_str())?;
                self.last_hash.clone_from(&event.hash);
                let handled = self.connector.next().await?;
                check("the connector's event", handled.sequence, event.sequence)?;
                show_source(provider, event_type, &event, &said(&handled))?;
            }
        }
        Ok(())
    }

    async fn link(&mut self) -> anyhow::Result<()> {
        self.step("A customer opens a tracked payment link, twice")?;
        let request = CreatePaymentLinkRequest {
            target_url: format!("https://{LINK_HOST}/pay/2002"),
            ..CreatePaymentLinkRequest::default()
        };
        let made = self.client.payments().create_payment_link(request).await;
        let url = made.map_err(tollgate_client::Error::from)?.into_inner().url;
        let path =
            url.strip_prefix(&self.stage.webhooks_url()).context("a link of this gateway")?;
        let visit = || Request {
            method: Method::GET,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        check("the answer", self.poster.post(visit()).await?.status, 302)?;
        let event = self.next_event("begins LINK_OPENED").await?;
        let handled = self.connector.next().await?;
        check("the connector's event", handled.sequence, event.sequence)?;
        show("a visit", "302", &event, &said(&handled))?;
        check("the answer", self.poster.post(visit()).await?.status, 302)?;
        let stats = self.stats().await?;
        check("the end of the log", stats.head, self.events)?;
        told("a second visit", "302", "no new event: it is within ten minutes of the first")
    }

    async fn prove(self) -> anyhow::Result<()> {
        let mut story = self;
        story.step(
            "The log proves that nothing was changed, against a hash that the watcher kept",
        )?;
        let anchor: Anchor =
            format!("{}:{}", story.events, story.last_hash).parse().map_err(anyhow::Error::msg)?;
        drop((story.watcher, story.connector, story.client));
        story.stage.stop().await.context("expected a clean stop")?;
        let verified = verify(&story.stage.store_path(), Some(anchor)).await?;
        check("the end of the log", verified.head.sequence, Sequence(story.events))?;
        let events = counted(story.events, "event");
        let hash: String = story.last_hash.chars().take(16).collect();
        told("verify", "", &format!("{events} verified, head {}:{hash}..", story.events))
    }

    async fn stats(&self) -> anyhow::Result<GetStatsResponse> {
        let stats = self.client.admin().get_stats(GetStatsRequest {}).await;
        Ok(stats.map_err(tollgate_client::Error::from)?.into_inner())
    }
}

/// Refuses a difference.
fn check<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> anyhow::Result<()> {
    ensure!(seen == expected, "{what}: expected {expected:?}, saw {seen:?}");
    Ok(())
}

/// What the connector did, in a few words.
fn said(handled: &Handled) -> String {
    let again = match handled.attempt {
        0 | 1 => String::new(),
        attempt => format!(" at attempt {attempt}"),
    };
    match &handled.outcome {
        Outcome::Acked(record, done) => format!("acked{again}: {record} {done}"),
        Outcome::Nacked(reason) => format!("nacked{again}: {reason}"),
        Outcome::Left => "no ack: the connector crashed".to_owned(),
    }
}

/// A line about an event: one that a webhook just became, or one that comes again.
fn show(event_type: &str, status: &str, event: &Event, said: &str) -> anyhow::Result<()> {
    let amount = amount(event).map(money).unwrap_or_default();
    let (sequence, change) = (event.sequence, change(event));
    let text = format!("event {sequence:<3} {amount:>11}  {change:<27}  {said}");
    told(event_type, status, &text)
}

/// A line about an event of one of many sources.
fn show_source(
    provider: &Provider,
    event_type: &str,
    event: &Event,
    said: &str,
) -> anyhow::Result<()> {
    let amount = amount(event).map(money).unwrap_or_default();
    let event_type: String = event_type.chars().take(MAX_TYPE_CHARS).collect();
    let (title, change) = (provider.title, change(event));
    Ok(line(&format!("    {title:<22} {event_type:<38} {amount:>13}  {change:<24} {said}"))?)
}

/// A line about anything else.
fn told(what: &str, status: &str, said: &str) -> anyhow::Result<()> {
    Ok(line(&format!("    {what:<25}  {status:<3}  {said}"))?)
}
