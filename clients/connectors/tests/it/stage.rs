//! A gateway, one double or several, and a connector for each, all but the doubles as processes; and the
//! question that all tests ask in the end: does every record say what the gateway says?

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fake_crms::lives::Happening;
use fake_crms::process::{Process, Site, until};
use fake_crms::{Double, Limits, PaymentRecord};
use rust_decimal::Decimal;
use tollgate_client::Client;
use tollgate_client::proto::{ListPaymentsRequest, Payment};

/// How long everything may take to come to rest.
pub const REST: Duration = Duration::from_secs(120);

/// The words that people see for each status.
const WORDS: &[(&str, &str)] = &[
    ("PENDING", "Pending"),
    ("AUTHORIZED", "Authorized"),
    ("PAID", "Paid"),
    ("PARTIALLY_PAID", "Partially paid"),
    ("FAILED", "Failed"),
    ("CANCELED", "Canceled"),
    ("PARTIALLY_REFUNDED", "Partially refunded"),
    ("REFUNDED", "Refunded"),
    ("DISPUTED", "Disputed"),
    ("CHARGED_BACK", "Charged back"),
];

/// A gateway with its folder.
pub struct Stage {
    pub site: Site,
    gateway: Option<Process>,
    pub client: Client,
}

/// A CRM with its connector.
pub struct Target {
    pub name: &'static str,
    pub double: Box<dyn Double>,
    config: String,
    connector: Option<Process>,
}

impl Stage {
    /// With these further settings of the gateway.
    pub async fn open(settings: &str) -> Stage {
        let site = Site::new(settings).expect("a folder");
        let gateway = Some(site.start_gateway().await.expect("the gateway starts"));
        let client = Client::builder(site.grpc_url()).connect_lazy().expect("a valid address");
        Stage { site, gateway, client }
    }

    /// A double of this CRM with a connector that is configured and does not run yet. `change` may change
    /// the tables that the double gives.
    pub async fn target(
        &self,
        name: &'static str,
        connector: &str,
        change: impl FnOnce(String) -> String,
    ) -> Target {
        let double = fake_crms::start(name, Limits::Generous).await;
        let tables = change(double.config());
        let config = self.site.configure(name, connector, &tables).expect("it can be written");
        Target { name, double, config, connector: None }
    }

    /// Kills the gateway.
    pub fn kill_gateway(&mut self) {
        self.gateway.take().expect("it runs").kill();
    }

    /// Starts it again.
    pub async fn start_gateway(&mut self) {
        self.gateway = Some(self.site.start_gateway().await.expect("the gateway starts"));
    }

    /// Posts events in their order, until each is taken.
    pub async fn deliver(&self, events: &[Happening]) {
        for event in events {
            event.deliver(&self.site.http_url()).await;
        }
    }

    /// What the gateway says of each payment, by its id.
    pub async fn payments(&self) -> HashMap<String, Payment> {
        let mut payments = HashMap::new();
        let mut page_token = String::new();
        loop {
            let request =
                ListPaymentsRequest { page_size: 1_000, page_token, ..Default::default() };
            let listed = self.client.payments().list_payments(request).await;
            let listed = listed.expect("the gateway answers").into_inner();
            for payment in listed.payments {
                let id = payment.name.rsplit('/').next().expect("a name").to_owned();
                payments.insert(id, payment);
            }
            if listed.next_page_token.is_empty() {
                return payments;
            }
            page_token = listed.next_page_token;
        }
    }

    /// Waits until every payment has one record that says what the gateway says.
    pub async fn agrees(&self, target: &Target) {
        let payments = self.payments().await;
        let mut last = String::new();
        let found = tokio::time::timeout(REST, async {
            loop {
                match disagreement(&payments, &target.double.records()) {
                    None => return,
                    Some(words) => last = words,
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(found.await.is_ok(), "{}: {last}", target.name);
        assert!(
            target.double.journal().second_creates().is_empty(),
            "{}: created twice",
            target.name
        );
    }

    /// Waits until the subscription has nothing outstanding and nothing waiting.
    pub async fn is_drained(&self, subscription: &str) {
        until("nothing waits", REST, async || {
            let request = tollgate_client::proto::GetSubscriptionRequest {
                subscription: subscription.to_owned(),
            };
            let got = self.client.subscriptions().get_subscription(request).await.ok()?;
            let got = got.into_inner().subscription?;
            let waiting = got.backlog.map_or(0, |backlog| backlog.events);
            (got.position == got.head && waiting == 0 && got.held_back == 0).then_some(())
        })
        .await;
    }

    /// What a subscription did with the events of a payment: outcome and reference of each, in order.
    pub async fn outcomes(&self, subscription: &str, payment: &str) -> Vec<(String, String)> {
        let request = tollgate_client::proto::GetTimelineRequest {
            name: payment.to_owned(),
            ..Default::default()
        };
        let timeline = self.client.payments().get_timeline(request).await.expect("it is known");
        let wanted = format!("subscriptions/{subscription}");
        let deliveries =
            timeline.into_inner().entries.into_iter().flat_map(|entry| entry.deliveries);
        let mine = deliveries.filter(|delivery| delivery.subscription == wanted);
        mine.map(|delivery| (delivery.outcome, delivery.external_ref)).collect()
    }
}

impl Target {
    /// Starts the connector.
    pub fn start(&mut self, site: &Site) {
        let started = site.start_connector(self.name, &self.config);
        self.connector = Some(started.expect("the binary runs"));
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.connector.take().expect("it runs").kill();
    }

    /// Asks it to end, which must go well.
    pub async fn stop(&mut self) {
        let connector = self.connector.take().expect("it runs");
        let status = connector.stop().await.expect("it ends");
        assert!(status.success(), "{}: {status}", self.name);
    }

    /// The record of a payment.
    pub fn record(&self, payment_id: &str) -> Option<PaymentRecord> {
        self.double.records().into_iter().find(|record| record.payment_id == payment_id)
    }
}

/// The words of a status.
pub fn words(status: &str) -> &'static str {
    WORDS.iter().find(|(word, _)| *word == status).map_or("", |(_, words)| words)
}

/// The first difference between payments and records, in words.
fn disagreement(payments: &HashMap<String, Payment>, records: &[PaymentRecord]) -> Option<String> {
    let mut by_payment: BTreeMap<&str, Vec<&PaymentRecord>> = BTreeMap::new();
    for record in records {
        by_payment.entry(&record.payment_id).or_default().push(record);
    }
    for (id, payment) in payments {
        let found = by_payment.remove(id.as_str()).unwrap_or_default();
        let [record] = found.as_slice() else {
            return Some(format!("{id} has {} records", found.len()));
        };
        let amounts = payment.amounts.clone().unwrap_or_default();
        let major = |money: Option<tollgate_client::proto::Money>| {
            Decimal::new(money.map_or(0, |money| money.minor_units), 2)
        };
        let expected = (words(&payment.status), major(amounts.paid), major(amounts.refunded));
        let actual = (
            record.status.as_str(),
            record.paid.unwrap_or_default(),
            record.refunded.unwrap_or_default(),
        );
        if expected != actual {
            return Some(format!("{id}: the gateway says {expected:?}, the record {actual:?}"));
        }
    }
    by_payment.keys().next().map(|id| format!("a record of {id}, which the gateway does not know"))
}
