//! How the SDK connects, over a real port with TLS.

use futures::StreamExt;
use rcgen::CertifiedKey;
use tokio::net::TcpListener;
use tollgate_client::{AckStatus, Client, Error, Tls};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::gateway::Gateway;

/// A certificate, which is its own authority, and its key.
fn certificate(name: &str) -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

#[tokio::test]
async fn tls_checks_the_gateway_and_proves_the_client() {
    let (gateway_certificate, gateway_key) = certificate("gateway.internal");
    let (client_certificate, client_key) = certificate("connector.internal");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://{}", listener.local_addr().unwrap());
    let tls = Tls::new().ca_certificate(&gateway_certificate).server_name("gateway.internal");
    let proven = tls.clone().identity(&client_certificate, &client_key);
    let client = Client::builder(&uri).token("token").tls(proven).connect_lazy().unwrap();
    let server_tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(&gateway_certificate, gateway_key))
        .client_ca_root(Certificate::from_pem(&client_certificate));
    let mut gateway = Gateway::listen(listener, server_tls, client);

    let mut subscription = gateway.client.subscription("crm").open();
    let mut stream = gateway.consume().await;
    assert_eq!(stream.authorization, "Bearer token");
    stream.deliver(1, "").await;
    let answer = subscription.next().await.unwrap().unwrap().ack();
    assert_eq!(stream.acks().await[0].ack_id, "1");
    stream.answer("1", AckStatus::Applied).await;
    assert_eq!(answer.await.unwrap(), AckStatus::Applied);

    let stranger = Tls::new().ca_certificate(client_certificate).server_name("gateway.internal");
    let refused = Client::builder(&uri).tls(stranger).connect().await;
    assert!(matches!(refused, Err(Error::Connect(_))), "the gateway's authority is not trusted");

    let other_name = tls.server_name("other.internal");
    let refused = Client::builder(&uri).tls(other_name).connect().await;
    assert!(matches!(refused, Err(Error::Connect(_))), "the gateway has another name");
}

#[tokio::test]
async fn a_gateway_that_is_not_there_fails_connect_but_not_connect_lazy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(Client::connect(&uri).await, Err(Error::Connect(_))));
    assert!(Client::builder(&uri).connect_lazy().is_ok());
}
