//! A quick check of vectors without a gateway: `TOLLGATE_VECTORS=FILE cargo test --lib vector_check --
//! --nocapture` runs one file of signed requests through the pure functions of its provider.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;

use super::calls::Key;
use super::{
    Answer, Endpoint, Fetch, Fetching, Keys, Provider, Step, Translation, Verdict, find, samples,
};
use crate::config::Config;
use crate::model::{Draft, Fact, Report, Sequence, SubjectState};
use crate::receipt::{Receipt, Request};

struct Stub {
    left: Vec<Value>,
}

impl Stub {
    fn answer(&mut self, method: &str, url: &str) -> Result<Answer, String> {
        if url.contains("token")
            && !self.left.iter().any(|one| one["path"] == samples::path_of(url))
        {
            return Err(format!("asked for {url}"));
        }
        let path = samples::path_of(url);
        let at = self.left.iter().position(|one| {
            let stub = one["path"].as_str().unwrap_or_default();
            one["method"].as_str().unwrap_or("GET") == method
                && stub.split('?').next() == Some(path)
        });
        let one = self.left.remove(at.ok_or_else(|| format!("no stub for {method} {url}"))?);
        if one["url"].as_str().is_some_and(|expected| expected != url) {
            return Err(format!("asked {url}, not {}", one["url"]));
        }
        let body = match one["response_text"].as_str() {
            Some(text) => text.to_owned(),
            None => one["response_json"].to_string(),
        };
        Ok(Answer {
            status: u16::try_from(one["status"].as_u64().unwrap_or(200)).expect("a status"),
            headers: HeaderMap::new(),
            body: Bytes::from(body),
        })
    }
}

#[test]
fn vectors() {
    let Some(file) = std::env::var_os("TOLLGATE_VECTORS") else { return };
    let file = std::path::PathBuf::from(file);
    if !file.is_file() {
        return;
    }
    let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
    let provider = find(&name).expect("a provider");
    let text = std::fs::read_to_string(&file).expect("a file");
    let vectors: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let mut wrong = 0;
    for vector in &vectors {
        let mut stub = Stub { left: vector["stub_api"].as_array().cloned().unwrap_or_default() };
        stub.left.extend(postback(vector));
        let outcome = run(provider, vector, &mut stub);
        let expect = vector["expect"].as_str().unwrap_or_default();
        let verdict = match (&outcome, expect) {
            (Err(_), "reject") => Ok(()),
            (Err(error), _) => Err(error.clone()),
            (Ok(drafts), "reject") if drafts.is_empty() => Ok(()),
            (Ok(drafts), "reject") => Err(format!("accepted: {drafts:?}")),
            (Ok(drafts), _) => judge(vector, drafts),
        };
        match verdict {
            Ok(()) => println!("ok    {} {}", vector["name"], outcome.err().unwrap_or_default()),
            Err(error) => {
                wrong += 1;
                println!("WRONG {} {error}", vector["name"]);
            }
        }
    }
    println!("{name}: {} vectors, {wrong} wrong", vectors.len());
    assert_eq!(wrong, 0);
}

/// What PayPal answers to an IPN that comes back.
fn postback(vector: &Value) -> Option<Value> {
    let postback = vector["ipn_postback"].as_object()?;
    let url = postback["url"].as_str().unwrap_or_default();
    Some(serde_json::json!({
        "method": "POST",
        "path": samples::path_of(url),
        "url": url,
        "status": postback["response_status"],
        "response_text": postback["response_body"],
        "expected_body_base64": postback["expected_body_base64"],
    }))
}

fn run(provider: &'static Provider, vector: &Value, stub: &mut Stub) -> Result<Vec<Draft>, String> {
    let endpoint = endpoint(provider, vector)?;
    let now = Timestamp::from_second(vector["now_unix"].as_i64().unwrap_or(0)).expect("a time");
    if vector["method"] == "POLL" {
        let mut drafts = Vec::new();
        for fetch in (provider.poll)(&endpoint) {
            drafts.extend(fetched(provider, &endpoint, &fetch, now, stub)?);
        }
        return Ok(drafts);
    }
    let request = request(vector);
    let mut keys = HashMap::new();
    let mut verdict = (provider.verify)(&request, &endpoint, &Keys::default(), now);
    for _ in 0..3 {
        let Ok(Verdict::NeedsKey(needed)) = &verdict else { break };
        let answer = stub.answer(needed.call.method.as_str(), &needed.call.url)?;
        keys.insert(needed.id.clone(), Key { body: answer.body, fetched_at: now });
        verdict = (provider.verify)(&request, &endpoint, &Keys::new(keys.clone()), now);
    }
    let proof = match verdict.map_err(|error| error.to_string())? {
        Verdict::Verified(proof) | Verdict::NeedsConfirmation(proof) => proof,
        Verdict::NeedsKey(key) => return Err(format!("still needs {key:?}")),
        Verdict::Challenge(challenge) => {
            println!(
                "      challenge {challenge:?}, expected {} {}",
                vector["expect_response"], vector["expect_response_body"]
            );
            return Ok(Vec::new());
        }
    };
    let receipt = Receipt::new(request, proof, endpoint.name.clone(), now, provider.redaction);
    match (provider.translate)(&receipt, &endpoint)
        .map_err(|error| format!("unreadable: {error}"))?
    {
        Translation::Events(drafts) => Ok(drafts),
        Translation::Unknown(kind) => {
            println!("      unknown {kind}");
            Ok(Vec::new())
        }
        Translation::Fetches(fetches) => {
            if vector["expected_fetch"].is_array() && vector["stub_api"].is_null() {
                println!("      fetches {fetches:?}, expected {}", vector["expected_fetch"]);
                return Ok(Vec::new());
            }
            let mut drafts = Vec::new();
            for fetch in &fetches {
                drafts.extend(fetched(provider, &endpoint, fetch, now, stub)?);
            }
            Ok(drafts)
        }
    }
}

fn fetched(
    provider: &Provider,
    endpoint: &Endpoint,
    fetch: &Fetch,
    now: Timestamp,
    stub: &mut Stub,
) -> Result<Vec<Draft>, String> {
    let mut answers = Vec::new();
    for _ in 0..50 {
        let fetching =
            Fetching { endpoint, fetch, received_at: now, now, cursor: "", answers: &answers };
        match (provider.fetch)(&fetching).map_err(|error| error.to_string())? {
            Step::Call(call) => {
                let expected =
                    stub.left.iter().find_map(|one| one["expected_body_base64"].as_str());
                if expected.is_some_and(|body| body != BASE64.encode(&call.body)) {
                    return Err(format!("another body than expected in {call:?}"));
                }
                answers.push(stub.answer(call.method.as_str(), &call.url)?);
            }
            Step::Done { drafts, .. } => return Ok(drafts),
            Step::Denied => return Ok(Vec::new()),
            Step::Later(reason) => return Err(reason),
        }
    }
    Err("50 calls".to_owned())
}

fn endpoint(provider: &Provider, vector: &Value) -> Result<Endpoint, String> {
    let url = vector["url"].as_str().unwrap_or("https://hooks.example.test/x");
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.split('?').next().unwrap_or_default();
    let mut text = format!(
        "[auth]\nmode = \"none\"\n[http]\npublic_url = \"{scheme}://{host}\"\n[[endpoints]]\nprovider = \"{}\"\nname = \"v\"\npath = \"/{path}\"\n",
        provider.name
    );
    let mut config = vector["config"].clone();
    for key in ["scheme", "standard"] {
        if !vector[key].is_null() {
            if config.is_null() {
                config = Value::Object(serde_json::Map::new());
            }
            config[key] = vector[key].clone();
        }
    }
    for (prefix, table) in [("secrets.", &vector["secrets"]), ("", &config)] {
        for (key, value) in table.as_object().into_iter().flatten() {
            let value = match value {
                Value::String(_) => value.to_string(),
                Value::Array(items) if items.iter().all(Value::is_string) => value.to_string(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                other => Value::String(other.to_string()).to_string(),
            };
            text.push_str(&format!("{prefix}{key} = {value}\n"));
        }
    }
    let config = Config::parse(&text, "vector", []).map_err(|error| error.to_string())?;
    config.endpoints.into_iter().next().ok_or_else(|| "no endpoint".to_owned())
}

fn request(vector: &Value) -> Request {
    let url = vector["url"].as_str().unwrap_or_default();
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |at| &rest[at..]).to_owned();
    let mut headers = HeaderMap::new();
    for (name, value) in vector["headers"].as_object().into_iter().flatten() {
        let name = http::HeaderName::try_from(name.as_str()).expect("a name");
        headers.append(name, value.as_str().expect("text").parse().expect("a value"));
    }
    let body = match (vector["body_base64"].as_str(), vector["body"].as_str()) {
        (Some(text), _) => BASE64.decode(text).expect("base64"),
        (None, text) => text.unwrap_or_default().as_bytes().to_vec(),
    };
    let method = vector["method"].as_str().unwrap_or("POST").parse().expect("a method");
    Request { method, path, headers, body: body.into() }
}

fn judge(vector: &Value, drafts: &[Draft]) -> Result<(), String> {
    let Some(expected) = vector["expected_canonical"].as_array() else {
        println!(
            "      gives {}",
            drafts.iter().map(words).map(|one| one.to_string()).collect::<Vec<_>>().join(" ")
        );
        return Ok(());
    };
    let seen: Vec<Value> = drafts.iter().map(words).collect();
    if seen.len() != expected.len() {
        return Err(format!("{} events, expected {}: {seen:?}", seen.len(), expected.len()));
    }
    for (seen, expected) in seen.iter().zip(expected) {
        for field in ["kind", "status", "amount_minor", "currency", "payment_id", "event_id"] {
            let any = &expected[format!("{field}_any_of")];
            let fits = expected.get(field).is_none()
                || expected[field].is_null()
                || expected[field] == seen[field]
                || any.as_array().is_some_and(|any| any.contains(&seen[field]))
                || (field == "status"
                    && seen[field] == "CHARGED_BACK"
                    && expected[field] == "DISPUTED");
            if !fits {
                return Err(format!("{field} of {seen}, expected {}", expected[field]));
            }
        }
    }
    Ok(())
}

fn words(draft: &Draft) -> Value {
    let mut state = SubjectState::begin(&draft.subject);
    let (_, report) = state.apply(draft, Sequence(1));
    let kind = match draft.fact {
        Fact::Payment(_) => "payment",
        Fact::Invoice(_) => "invoice",
        Fact::BankTransaction(_) => "bank_transaction",
        Fact::CustomerAction(_) => "customer_action",
    };
    let word = report.status().word().to_owned();
    let status = match (kind, word.as_str()) {
        ("invoice", "DRAFT" | "OPEN" | "OVERDUE") => "PENDING",
        ("invoice", "VOID" | "UNCOLLECTIBLE") => "CANCELED",
        ("invoice", "PAYMENT_FAILED") => "FAILED",
        ("bank_transaction", "BOOKED") => "PAID",
        ("bank_transaction", "REMOVED") => "CANCELED",
        ("bank_transaction", "RETURNED") => "REFUNDED",
        ("customer_action", "CHECKOUT_COMPLETED") => "PAID",
        ("customer_action", "CHECKOUT_EXPIRED" | "REQUEST_CANCELED") => "CANCELED",
        ("customer_action", _) => "PENDING",
        _ => &word,
    };
    let amount = match (&report, &draft.fact) {
        (Report::Payment(report), _) => report.amount,
        (_, Fact::Invoice(fact)) => match word.as_str() {
            "PARTIALLY_PAID" => fact.paid,
            "REFUNDED" | "PARTIALLY_REFUNDED" => fact.refunded.or(fact.total),
            _ => fact.total,
        },
        (_, Fact::BankTransaction(fact)) => fact.amount,
        (_, Fact::CustomerAction(fact)) => fact.amount,
        (_, Fact::Payment(fact)) => fact.amount,
    };
    serde_json::json!({
        "kind": kind,
        "status": status,
        "amount_minor": amount.map(|money| money.minor_units.abs()),
        "currency": amount.map(|money| money.currency.code()),
        "payment_id": draft.subject.id,
        "event_id": draft.event_id,
    })
}
