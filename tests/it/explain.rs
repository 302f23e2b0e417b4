//! `tollgate explain`: from the raw request to the record that a consumer wrote.

use serde_json::Value;
use tollgate_client::proto::nack::Kind;
use tollgate_client::proto::{Ack, AcknowledgeRequest};

use crate::commands::run;
use crate::gateway::TestGateway;
use crate::subscriber::{Subscriber, from_earliest, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_explained_from_receipt_to_ack() {
    let gateway = TestGateway::start().await;
    gateway.accept("payment_intent.succeeded", "one").await;
    let early = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    let late = gateway.sample_at("payment_intent.created", "one", early);
    assert_eq!(gateway.post(late).await, 200);
    let client = gateway.client().await;

    let mut crm = Subscriber::open(&client, from_earliest("crm")).await;
    let delivery = crm.delivery().await;
    let ack = Ack {
        ack_id: delivery.ack_id.clone(),
        external_ref: "deal-42".to_owned(),
        outcome: "created".to_owned(),
    };
    let request = AcknowledgeRequest { subscription: "crm".to_owned(), acks: vec![ack] };
    soon(crm.calls.acknowledge(request)).await.expect("acknowledged");
    let mut mail = Subscriber::open(&client, from_earliest("mail")).await;
    let delivery = mail.delivery().await;
    mail.nack(&delivery, Kind::DeadLetter, "no such contact").await;

    let address = format!("http://{}", gateway.grpc);
    let name = "payments/stripe/test/pi_one";
    let explain = ["explain", name, "--address", &address];
    let told = run(gateway.directory(), &explain).await;
    assert!(told.ok, "{told:?}");
    let mut rest = told.out.as_str();
    for part in [
        "payments/stripe/test/pi_one is PAID (PAID)",
        "by events/1",
        "paid ",
        "events/1",
        "begins PAID",
        "receipts/1 of stripe/test",
        "verified by webhook_secret[0]",
        "crm: acknowledged",
        "wrote deal-42, created",
        "mail: dead letter",
        "no such contact",
        "tollgate dead-letters replay mail 1",
        "events/2",
        "late PENDING: stays PAID",
        "it changed nothing",
        "receipts/2",
        "crm: waits",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is missing: {}", told.out));
        rest = &rest[at..];
    }
    let json = run(gateway.directory(), &[&explain[..], &["--json"]].concat()).await;
    let json: Value = serde_json::from_str(&json.out).unwrap_or_else(|_| panic!("{json:?}"));
    assert_eq!((&json["status"], &json["cause"]), (&"PAID".into(), &"events/1".into()));
    assert_eq!(json["events"][0]["receipt"]["verifiedBy"], "webhook_secret[0]");
    assert_eq!(json["events"][0]["deliveries"][0]["externalRef"], "deal-42");

    let missing = ["explain", "payments/stripe/test/none", "--address", &address];
    let missing = run(gateway.directory(), &missing).await;
    assert!(!missing.ok && missing.err.contains("does not exist"), "{missing:?}");
}
