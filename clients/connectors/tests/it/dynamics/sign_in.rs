//! Signing in: both credentials, refusals, tokens that end, and that nothing secret is ever shown.

use std::io;
use std::sync::Mutex;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fake_crms::dynamics::{Certificate, Settings};
use fake_crms::{Host, Server};
use ring::signature::{KeyPair, RsaKeyPair};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use sha2::{Digest, Sha256};

use super::*;

const CERTIFICATE: &str = include_str!("certificate.pem");
const PRIVATE_KEY: &str = include_str!("private_key.pem");
const SECRET: &str = "fake~dynamics~secret~8Q3";

fn certificate() -> Certificate {
    let der = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from_pem_slice(PRIVATE_KEY.as_bytes()).expect("a key");
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).expect("an RSA key");
    Certificate {
        thumbprint: BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&der)),
        public_key: key.public_key().as_ref().to_vec(),
    }
}

fn with_certificate(server: &Server<Dynamics>) -> toml::Table {
    let mut table = table(server, "");
    table.remove("client_secret");
    for (key, value) in
        [("auth", "client_certificate"), ("certificate", CERTIFICATE), ("private_key", PRIVATE_KEY)]
    {
        table.insert(key.to_owned(), value.into());
    }
    table
}

#[tokio::test]
async fn a_secret_is_shown_to_the_token_endpoint_alone() {
    let setup = Setup::start().await;
    assert_eq!(words(&setup.write(&upserts(1)).await), ["created"]);
    let calls = setup.server.journal().calls();
    let sent =
        calls.iter().filter(|call| String::from_utf8_lossy(&call.body).contains("client_secret"));
    let sent: Vec<_> = sent.collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].host, Host::Auth);
    assert_eq!(sent[0].path, "/acme.onmicrosoft.com/oauth2/v2.0/token");
    let body = String::from_utf8_lossy(&sent[0].body).into_owned();
    assert!(body.contains("scope=https%3A%2F%2Facme.crm4.dynamics.com%2F.default"), "{body}");
}

#[tokio::test]
async fn a_certificate_signs_in_each_time_with_a_new_assertion() {
    let settings = Settings { certificate: Some(certificate()), ..Settings::default() };
    let server = Dynamics::start(settings).await;
    let crm = open(with_certificate(&server));
    assert_eq!(words(&crm.write(&payments(), &upserts(1)).await), ["created"]);
    server.backend().tokens.kill_all();
    assert_eq!(words(&crm.write(&payments(), &upserts(1)).await), ["updated"]);
    assert_eq!(server.backend().tokens.issued(), 2);
}

#[tokio::test]
async fn an_unknown_certificate_is_refused() {
    let other = Certificate { thumbprint: "other".to_owned(), ..certificate() };
    let server =
        Dynamics::start(Settings { certificate: Some(other), ..Settings::default() }).await;
    let fault = open(with_certificate(&server)).identify().await.expect_err("refused");
    assert!(matches!(&fault, Fault::Unauthorized { reason } if reason.contains("AADSTS700027")));
}

#[tokio::test]
async fn a_wrong_secret_stops_everything_and_is_tried_once() {
    let server = Dynamics::start(Settings::default()).await;
    let mut settings = table(&server, "");
    settings.insert("client_secret".to_owned(), "wrong~secret".into());
    let crm = open(settings);
    for _ in 0..3 {
        let outcomes = crm.write(&payments(), &upserts(2)).await;
        assert_eq!(words(&outcomes), ["unauthorized", "unauthorized"]);
        let Err(fault) = &outcomes[0] else { panic!("{outcomes:?}") };
        assert!(fault.to_string().contains("AADSTS7000215"));
        assert!(!format!("{fault:?} {fault}").contains("wrong~secret"));
    }
    assert_eq!(server.journal().count("token"), 1);
}

#[tokio::test]
async fn an_application_that_is_no_user_is_told_so() {
    let settings = Settings { has_app_user: false, ..Settings::default() };
    let setup = Setup::with(settings, "").await;
    assert_eq!(words(&setup.write(&upserts(1)).await), ["unauthorized"]);
    let fault = setup.crm.identify().await.expect_err("refused");
    assert!(fault.to_string().contains("0x80072560"), "{fault}");
}

#[tokio::test]
async fn a_token_that_ends_between_or_within_batches_is_renewed_once() {
    let setup = Setup::warm(Settings::default(), "").await;
    let tokens = &setup.server.backend().tokens;
    assert_eq!(words(&setup.write(&upserts(1)).await), ["created"]);
    tokens.kill_all();
    setup.server.faults().set_latency(std::time::Duration::from_millis(20));
    let outcomes = setup.write(&upserts(60)).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(tokens.issued(), 2);
    assert_eq!(setup.records().len(), 60);
    assert!(setup.server.journal().second_creates().is_empty());
    tokens.set_life(fake_crms::Lifetime { calls: Some(2), ..fake_crms::Lifetime::default() });
    tokens.kill_all();
    let one = open(table(&setup.server, "max_calls_in_flight = 1"));
    assert!(one.write(&payments(), &upserts(60)).await.iter().all(Result::is_ok));
    assert!(setup.records().iter().all(|record| record.writes <= 3));
}

#[tokio::test]
async fn a_token_that_is_always_refused_is_an_error_and_no_loop() {
    let setup = Setup::start().await;
    let dead = fake_crms::Lifetime { calls: Some(0), ..fake_crms::Lifetime::default() };
    setup.server.backend().tokens.set_life(dead);
    assert_eq!(words(&setup.write(&upserts(1)).await), ["unauthorized"]);
    assert_eq!(setup.server.backend().tokens.issued(), 2);
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_secret_is_logged_or_told() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let setup = Setup::start().await;
    let mut told = format!("{:?}", setup.write(&upserts(2)).await);
    let dead = fake_crms::Lifetime { calls: Some(0), ..fake_crms::Lifetime::default() };
    setup.server.backend().tokens.kill_all();
    setup.server.backend().tokens.set_life(dead);
    told.push_str(&format!("{:?}", setup.write(&upserts(2)).await));
    told.push_str(&format!("{:?}", setup.crm.identify().await));
    let logged = captured.0.lock().expect("nobody panics with it").clone();
    told.push_str(&String::from_utf8_lossy(&logged));
    assert!(told.contains("somebody must act"), "the capture sees errors: {told}");
    assert!(!told.contains(SECRET));
    for call in setup.server.journal().calls().iter().filter(|call| call.host == Host::Auth) {
        let answer: serde_json::Value = serde_json::from_slice(&call.answer).expect("JSON");
        assert!(!told.contains(answer["access_token"].as_str().expect("a token")));
    }
}

#[test]
fn mistakes_in_the_settings_are_told_by_key() {
    let right = r#"
        environment_url = "https://acme.crm4.dynamics.com"
        tenant = "acme.onmicrosoft.com"
        auth = "client_secret"
        client_id = "id"
        client_secret = "s3cret-value"
    "#;
    let mistake = |from: &str, to: &str| {
        let text = right.replace(from, to);
        let table = text.parse().expect("TOML");
        (KIND.open)(table, &Orgs::default()).err().expect("a mistake").to_string()
    };
    for (from, to, key) in [
        ("https://acme", "http://acme", "crm.environment_url"),
        ("tenant = \"acme.onmicrosoft.com\"", "tenant = \"a/../b\"", "crm.tenant"),
        ("auth = \"client_secret\"", "auth = \"client_certificate\"", "crm.certificate"),
        ("client_secret = \"s3cret-value\"", "", "crm.client_secret"),
        ("client_id", "clientid", "crm"),
        ("client_id = \"id\"", "client_id = \"id\"\nbatch_size = 1001", "crm.batch_size"),
        ("client_id = \"id\"", "client_id = \"id\"\nmax_calls_in_flight = 53", "crm.max_calls"),
        ("client_id = \"id\"", "client_id = \"id\"\nauth_url = \"http://x\"", "crm.auth_url"),
        ("client_id = \"id\"", "client_id = \"id\"\ndaily_reserve = 5", "crm.daily_reserve"),
        ("client_id = \"id\"", "client_id = \"id\"\nprivate_key = \"x\"", "crm.private_key"),
    ] {
        let told = mistake(from, to);
        assert!(told.starts_with(key), "{told}");
        assert!(!told.contains("s3cret-value"), "{told}");
    }
    let table = |text: &str| text.parse().expect("TOML");
    let keyed = right.replace("client_secret\"\n", "client_certificate\"\n");
    let keyed = keyed
        .replace("client_secret = \"s3cret-value\"", "certificate = \"x\"\nprivate_key = \"y\"");
    let told = (KIND.open)(table(&keyed), &Orgs::default()).err().expect("a mistake");
    assert_eq!(told.key, "crm.certificate");
}
