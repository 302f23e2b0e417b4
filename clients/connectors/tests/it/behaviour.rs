//! What the connectors promise, through the front door: a real gateway, a real `tollgate-connect`, and the
//! doubles. A test that says nothing else runs on HubSpot's double, which has two kinds of records.

mod limits;
mod matching;
mod order;
mod people;
mod refusals;

use std::time::Duration;

use fake_crms::hubspot::{Hubspot, Settings};
use fake_crms::lives::{self, Happening};
use fake_crms::process::{Process, until};
use fake_crms::{Account, Backend, Server};
use jiff::Timestamp;
use tollgate_client::proto::{GetTimelineRequest, ListDeadLettersRequest, TimelineDelivery};

use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(30);
/// The fields that every new deal needs.
pub const NEW_DEAL: &str = "[objects.fields]\n\
    dealname = { template = \"Payment {subject_id}\", on = \"create\" }\n\
    dealstage = { constant = \"appointmentscheduled\", on = \"create\" }\n";
/// The deal of a payment, by its unique property.
pub const BY_PAYMENT: &str =
    "match = [{ field = \"payment_id\", from = \"subject_id\", unique = true }]\n";
const VALUES: &str = "values = { PENDING = \"pending\", AUTHORIZED = \"authorized\", PAID = \"paid\", \
    PARTIALLY_PAID = \"partially_paid\", FAILED = \"failed\", CANCELED = \"canceled\", \
    PARTIALLY_REFUNDED = \"partially_refunded\", REFUNDED = \"refunded\", DISPUTED = \"disputed\", \
    CHARGED_BACK = \"charged_back\" }";

/// A gateway, a double, and a connector with the subscription `crm`.
pub struct Scene<B: Backend> {
    pub stage: Stage,
    pub double: Server<B>,
    pub config: String,
    name: &'static str,
    connector: Option<Process>,
    begun_at: i64,
}

impl<B: Backend> Scene<B>
where
    Server<B>: Account,
{
    /// With these settings below `[connector]` and these tables; nothing runs yet but the gateway.
    pub async fn open(
        name: &'static str,
        double: Server<B>,
        connector: &str,
        tables: &str,
    ) -> Scene<B> {
        let stage = Stage::open("").await;
        let config = stage.site.configure("crm", connector, tables).expect("a folder");
        let begun_at = Timestamp::now().as_second();
        Scene { stage, double, config, name, connector: None, begun_at }
    }

    /// Starts the connector.
    pub fn start(&mut self) {
        let started = self.stage.site.start_connectors(self.name, &[&self.config], "debug");
        self.connector = Some(started.expect("the binary runs"));
    }

    /// Stops it, which must go well; what it logged.
    pub async fn stop(&mut self) -> String {
        let connector = self.connector.take().expect("it runs");
        let log = self.stage.site.folder().join(format!("{}.log", self.config));
        let status = connector.stop().await.expect("it ends");
        assert!(status.success(), "{status}");
        std::fs::read_to_string(log).expect("a log")
    }

    /// Posts one event of a payment.
    pub async fn deliver(&self, number: usize, name: &str, step: usize) {
        self.stage.deliver(&[self.event(number, name, step)]).await;
    }

    /// An event of a payment; steps are seconds.
    pub fn event(&self, number: usize, name: &str, step: usize) -> Happening {
        let created = self.begun_at + i64::try_from(step).unwrap_or(0);
        lives::happening(number, name, created, step)
    }

    /// What became of each event of a payment, in order.
    pub async fn deliveries(&self, number: usize) -> Vec<TimelineDelivery> {
        deliveries(&self.stage, "crm", number).await
    }

    /// Waits until so many events of the payment are acknowledged; their outcomes.
    pub async fn acked(&self, number: usize, events: usize) -> Vec<String> {
        until(&format!("{events} events of {number} are acknowledged"), SOON, async || {
            let acked = self.deliveries(number).await.into_iter();
            let acked: Vec<String> =
                acked.filter(|it| it.state == "acked").map(|it| it.outcome).collect();
            (acked.len() >= events).then_some(acked)
        })
        .await
    }

    /// Waits until so many events were put aside; the reasons.
    pub async fn dead(&self, events: usize) -> Vec<String> {
        until(&format!("{events} dead letters"), SOON, async || {
            let subscription = "crm".to_owned();
            let request = ListDeadLettersRequest { subscription, ..Default::default() };
            let listed = self.stage.client.subscriptions().list_dead_letters(request).await.ok()?;
            let dead = listed.into_inner().dead_letters.into_iter();
            let dead: Vec<String> = dead.map(|it| it.reason).collect();
            (dead.len() >= events).then_some(dead)
        })
        .await
    }
}

/// What a subscription did with each event of a payment.
pub async fn deliveries(stage: &Stage, subscription: &str, number: usize) -> Vec<TimelineDelivery> {
    let name = format!("payments/stripe/test/{}", lives::payment_id(number));
    let request = GetTimelineRequest { name, ..Default::default() };
    let Ok(timeline) = stage.client.payments().get_timeline(request).await else {
        return Vec::new();
    };
    let wanted = format!("subscriptions/{subscription}");
    let all = timeline.into_inner().entries.into_iter().flat_map(|entry| entry.deliveries);
    all.filter(|delivery| delivery.subscription == wanted).collect()
}

/// HubSpot's double with these `[[objects]]`.
async fn hubspot(connector: &str, objects: &str) -> Scene<Hubspot> {
    let double = Hubspot::start(Settings::default()).await;
    let tables = crm(&double) + objects;
    Scene::open("hubspot", double, connector, &tables).await
}

/// The double's table `[crm]`.
fn crm(double: &Server<Hubspot>) -> String {
    let config = double.config();
    let objects = config.find("[[objects]]").expect("it has objects");
    config[..objects].to_owned()
}

/// A kind of record that shows the payment's status in this field, with further keys of the field.
fn object(object: &str, keys: &str, new: &str, status: (&str, &str)) -> String {
    let (field, more) = status;
    let fields = if new.is_empty() { "[objects.fields]\n" } else { new };
    format!(
        "[[objects]]\nobject = \"{object}\"\n{keys}{fields}\
         {field} = {{ from = \"status\", {VALUES}{more} }}\n"
    )
}

/// The deal of a payment, by its unique property.
fn deal(keys: &str, more: &str) -> String {
    let keys = format!("name = \"payment\"\n{BY_PAYMENT}{keys}");
    object("deals", &keys, NEW_DEAL, ("payment_status", more))
}
