//! The six CRMs as sources beside their connectors: what a CRM tells of our own write makes no event, or
//! one that is known for an echo, and is never written back; and two CRMs that tell each other of the same
//! payment come to rest.

mod webhook;

use fake_crms::lives;
use fake_crms::process::until;
use jiff::Timestamp;
use tollgate_client::proto::GetTimelineRequest;

use crate::stage::{REST, Stage, Target};
use webhook::{Change, endpoints, subject, tell};

/// A gateway with the endpoints of these CRMs, which runs, and their connectors, which run too.
async fn open(crms: &[&'static str], connector: &str) -> (Stage, Vec<Target>) {
    let mut settings = String::new();
    for name in crms {
        let double = fake_crms::start(name, fake_crms::Limits::Generous).await;
        settings.push_str(&endpoints(name, double.as_ref()));
    }
    let stage = Stage::open(&settings).await;
    let mut targets = Vec::new();
    for name in crms {
        let mut target = stage.target(name, connector, |tables| tables).await;
        target.start(&stage.site);
        targets.push(target);
    }
    (stage, targets)
}

impl Target {
    async fn tell(&self, stage: &Stage, change: &Change<'_>) {
        tell(self.name, &stage.site.http_url(), self.double.as_ref(), change).await;
    }

    fn writes(&self) -> usize {
        self.double.journal().commits().iter().filter(|commit| commit.call > 0).count()
    }
}

/// What the subscription did with the events about a payment of a CRM's endpoint, once there are so many.
async fn outcomes(stage: &Stage, subscription: &str, payment: &str, count: usize) -> Vec<String> {
    let wanted = format!("subscriptions/{subscription}");
    until(payment, REST, async || {
        let name = payment.to_owned();
        let request = GetTimelineRequest { name, ..Default::default() };
        let timeline = stage.client.payments().get_timeline(request).await.ok()?.into_inner();
        let deliveries = timeline.entries.into_iter().flat_map(|entry| entry.deliveries);
        let mine = deliveries.filter(|delivery| delivery.subscription == wanted);
        let outcomes: Vec<String> =
            mine.map(|one| one.outcome).filter(|outcome| !outcome.is_empty()).collect();
        (outcomes.len() >= count).then_some(outcomes)
    })
    .await
}

async fn paid(stage: &Stage, targets: &[Target]) -> String {
    let now = Timestamp::now().as_second();
    stage.deliver(&[lives::happening(1, "payment_intent.succeeded", now, 0)]).await;
    for target in targets {
        stage.agrees(target).await;
        stage.is_drained(target.name).await;
    }
    lives::payment_id(1)
}

async fn an_echo_is_known(crm: &'static str, own_events: &str) {
    let (stage, targets) = open(&[crm], own_events).await;
    let payment = paid(&stage, &targets).await;
    let target = &targets[0];
    let record = target.record(&payment).expect("it is there").id;
    let change = |endpoint, status, is_ours, number| Change {
        endpoint,
        record: &record,
        payment: &payment,
        status,
        is_ours,
        number,
    };
    let before = target.writes();
    let ours = change("test", "Paid", true, 1);
    let name = |endpoint| format!("payments/{crm}/{endpoint}/{}", subject(crm, &ours));
    // Zoho CRM does not tell who made a change, so its endpoints have no such setting.
    if crm != "zoho_crm" {
        target.tell(&stage, &change("quiet", "Paid", true, 2)).await;
    }
    target.tell(&stage, &ours).await;
    assert_eq!(outcomes(&stage, crm, &name("test"), 1).await, ["echo"], "{crm}");
    stage.is_drained(crm).await;
    let request = GetTimelineRequest { name: name("quiet"), ..Default::default() };
    let told = stage.client.payments().get_timeline(request).await;
    assert!(told.is_err(), "{crm}: our own change is an event");
    assert_eq!(target.writes(), before, "{crm}: an echo was written");
    if own_events.is_empty() {
        target.tell(&stage, &change("test", "Refunded", false, 3)).await;
        assert_eq!(outcomes(&stage, crm, &name("test"), 2).await, ["echo", "own"], "{crm}");
        target.tell(&stage, &change("quiet", "Refunded", false, 4)).await;
        assert_eq!(outcomes(&stage, crm, &name("quiet"), 1).await, ["own"], "{crm}");
        stage.is_drained(crm).await;
        assert_eq!(target.writes(), before, "{crm}: its own change was written");
    }
}

macro_rules! for_each_crm {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn our_write_is_an_echo_and_a_persons_change_its_own() {
                super::an_echo_is_known(stringify!($name), "").await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn our_write_is_an_echo_where_own_events_are_written() {
                super::an_echo_is_known(stringify!($name), "own_events = \"write\"").await;
            }
        }
    )*};
}

for_each_crm!(dynamics hubspot monday pipedrive salesforce zoho_crm);

#[tokio::test(flavor = "multi_thread")]
async fn two_crms_in_a_ring_write_each_change_once() {
    let (stage, targets) = open(&["hubspot", "salesforce"], "").await;
    let payment = paid(&stage, &targets).await;
    let mut number = 0;
    for (status, writes) in [("Paid", 1), ("Refunded", 2)] {
        if status == "Refunded" {
            let now = Timestamp::now().as_second();
            stage.deliver(&[lives::happening(1, "charge.refunded", now, 1)]).await;
        }
        for target in &targets {
            until(status, REST, async || (target.record(&payment)?.status == status).then_some(()))
                .await;
            stage.is_drained(target.name).await;
        }
        let mut told = [0, 0];
        let mut expected = Vec::new();
        // Each write is told to the gateway, and each write that follows from that, until none does.
        while let Some(at) = (0..2).find(|at| told[*at] == 0 || targets[*at].writes() > writes) {
            told[at] += 1;
            assert!(told[at] < 5, "{} goes round", targets[at].name);
            number += 1;
            let record = targets[at].record(&payment).expect("it is there").id;
            let change = Change {
                endpoint: "test",
                record: &record,
                payment: &payment,
                status,
                is_ours: true,
                number,
            };
            targets[at].tell(&stage, &change).await;
            expected.push(format!(
                "payments/{}/test/{}",
                targets[at].name,
                subject(targets[at].name, &change)
            ));
            for (name, count) in expected.iter().map(|name| (name, writes)) {
                outcomes(&stage, "hubspot", name, count).await;
                outcomes(&stage, "salesforce", name, count).await;
            }
            for target in &targets {
                stage.is_drained(target.name).await;
            }
        }
        for target in &targets {
            assert_eq!(target.writes(), writes, "{}: after {status}", target.name);
            assert_eq!(target.double.records().len(), 1, "{}: after {status}", target.name);
        }
    }
}
