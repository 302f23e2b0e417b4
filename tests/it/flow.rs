//! The whole road: a signed webhook in, an acknowledged delivery out.

use futures::StreamExt;
use tollgate_client::{Filter, StartPosition};

use crate::gateway::TestGateway;

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_webhook_becomes_an_acknowledged_delivery() {
    let gateway = TestGateway::start().await;
    gateway.accept("payment_intent.succeeded", "one").await;
    let client = gateway.client().await;
    let mut subscription = client
        .subscription("crm")
        .create_if_missing(Filter::default(), StartPosition::earliest())
        .open();
    let delivery = subscription.next().await.expect("a delivery").expect("no error");
    let event = delivery.event();
    assert_eq!((event.sequence, event.provider.as_str()), (1, "stripe"));
    assert_eq!(event.subject, "payments/stripe/test/pi_one");
    let status = delivery.ack_with("record-7", "updated").await.expect("an answer");
    assert_eq!(status, tollgate_client::AckStatus::Applied);
}
