//! Each known mistake is made to a good sample and must be found, by its name and without showing a secret.

use secrecy::ExposeSecret;

use super::*;
use crate::model::EndpointName;
use crate::providers::{SampleOrder, square, stripe};

const SECRET: &str = "whsec_hunter2hunter2hunter2";
const KEY: &str = "square-hunter2-signature-key";

fn now() -> Timestamp {
    Timestamp::from_second(1_795_600_000).expect("a time")
}

fn endpoint(provider: &Provider, name: &str, secret: (&str, &str)) -> Endpoint {
    let name = EndpointName::new(provider.name, name).expect("a name");
    Endpoint {
        path: format!("/webhooks/{name}"),
        url: format!("https://hooks.example.com/webhooks/{name}"),
        secrets: [(secret.0.to_owned(), vec![SecretString::from(secret.1)])].into(),
        settings: BTreeMap::new(),
        name,
    }
}

fn stripe_at(secret: &str) -> Endpoint {
    endpoint(&stripe::PROVIDER, "main", ("webhook_secret", secret))
}

fn sample(provider: &Provider, endpoint: &Endpoint, event_type: &str) -> Request {
    let order =
        SampleOrder { event_type, seed: "d", event_id: None, occurred_at: now(), now: now() };
    provider.sample_request(endpoint, &order).expect("a sample")
}

fn paid() -> Request {
    sample(&stripe::PROVIDER, &stripe_at(SECRET), "payment_intent.succeeded")
}

fn found(
    provider: &Provider,
    endpoint: &Endpoint,
    others: &[Endpoint],
    request: &Request,
) -> String {
    let case = Case { provider, endpoint, others, request, now: now(), key: None };
    let diagnosis = diagnose(case);
    let shown = format!("{diagnosis:?}");
    let secrets = others.iter().chain([endpoint]).flat_map(|endpoint| endpoint.secrets.values());
    for secret in secrets.flatten() {
        let text = secret.expose_secret().trim();
        assert!(!shown.contains(text.trim_start_matches("whsec_")), "{shown}");
    }
    match diagnosis {
        Diagnosis::Verified(by) => by,
        Diagnosis::Explained(findings) => {
            let texts: Vec<String> = findings
                .iter()
                .map(|finding| format!("{}: {}", finding.cause.word(), finding.found))
                .collect();
            texts.join("; ")
        }
        Diagnosis::NeedsKey(key) => key,
        Diagnosis::Unexplained { reason, .. } => format!("unexplained: {reason}"),
    }
}

fn of_stripe(secret: &str, request: &Request) -> String {
    found(&stripe::PROVIDER, &stripe_at(secret), &[], request)
}

#[test]
fn what_verifies_is_said_to() {
    assert_eq!(of_stripe(SECRET, &paid()), "webhook_secret[0]");
    let unexplained = of_stripe("whsec_another", &paid());
    assert_eq!(unexplained, "unexplained: no configured `webhook_secret` matches");
}

#[test]
fn secrets_of_other_endpoints_and_other_forms_are_found() {
    let wrong = stripe_at("whsec_of_the_test_mode");
    let live = Endpoint {
        name: EndpointName::new("stripe", "live").expect("a name"),
        ..stripe_at(SECRET)
    };
    assert_eq!(
        found(&stripe::PROVIDER, &wrong, &[live], &paid()),
        "secret: with the secrets of endpoint `stripe/live`"
    );
    for (written, told) in [
        (format!(" {SECRET}\n"), "without the white space around it"),
        (format!("\"{SECRET}\""), "without the quotes around it"),
        (SECRET.replace("whsec_", ""), "with the prefix `whsec_`"),
        (format!("name: {SECRET}"), "without what stands before its last blank"),
        (hex::encode(SECRET), "decoded from hex"),
    ] {
        let expected = format!("secret: with `secrets.webhook_secret` {told}");
        assert!(of_stripe(&written, &paid()).starts_with(&expected), "{told}");
    }
}

#[test]
fn bodies_that_were_written_anew_are_found() {
    let changed = |change: &dyn Fn(&str) -> String| {
        let mut request = paid();
        let text = std::str::from_utf8(&request.body).expect("text");
        request.body = Bytes::from(change(text));
        of_stripe(SECRET, &request)
    };
    let with_line_feed = changed(&|text| format!("{text}\n"));
    assert_eq!(with_line_feed, "body: with the body without the line feed at its end");
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let minified = changed(&|text| value(text).to_string());
    assert_eq!(minified, "body: with the body indented by two blanks");
    let other = changed(&|text| text.replacen("pi_", "pj_", 1));
    assert!(other.starts_with("unexplained"), "{other}");
}

#[test]
fn clocks_and_headers_are_found() {
    let request = paid();
    let later = now() + SignedDuration::from_hours(3);
    let endpoint = stripe_at(SECRET);
    let case = Case {
        provider: &stripe::PROVIDER,
        endpoint: &endpoint,
        others: &[],
        request: &request,
        now: later,
        key: None,
    };
    let Diagnosis::Explained(findings) = diagnose(case) else { panic!("explained") };
    assert_eq!(findings[0].found, "it was signed 10800 s before the time it is held against");

    let mut renamed = paid();
    let value = renamed.headers.remove("stripe-signature").expect("signed");
    renamed.headers.insert("http_stripe_signature", value);
    assert_eq!(
        of_stripe(SECRET, &renamed),
        "header: with the names of headers without `http-` before them"
    );
}

#[test]
fn urls_that_a_proxy_changes_are_found() {
    let known = endpoint(&square::PROVIDER, "main", ("signature_key", KEY));
    let mut request = sample(&square::PROVIDER, &known, "payment.updated");
    let told =
        |endpoint: &Endpoint, request: &Request| found(&square::PROVIDER, endpoint, &[], request);
    assert_eq!(told(&known, &request), "signature_key[0]");
    let plain = Endpoint { url: known.url.replace("https", "http"), ..known.clone() };
    assert_eq!(told(&plain, &request), "url: with the other scheme in the endpoint's URL");
    request.headers.insert("x-forwarded-host", "hooks.example.com".parse().expect("a value"));
    let inner =
        Endpoint { url: "http://10.0.0.7:8080/webhooks/square/main/".to_owned(), ..known.clone() };
    let both = told(&inner, &request);
    assert!(both.contains("the host in header `x-forwarded-host`"), "{both}");
    // Two mistakes at once.
    let blank =
        endpoint(&square::PROVIDER, "main", ("signature_key", " square-hunter2-signature-key"));
    let two = told(&Endpoint { url: plain.url.clone(), ..blank }, &request);
    assert!(two.contains("secret: ") && two.contains("url: "), "{two}");
}
