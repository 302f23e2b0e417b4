//! The table test over signed requests: each goes through the real HTTP path, to an endpoint configured
//! from its secrets, with the clock at its time, and gives its verdict and its canonical events. Those of
//! `tests/vectors` run always; `TOLLGATE_VECTORS=DIR` runs another folder of the same form instead.

mod judge;
mod stub;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tollgate::config::Config;
use tollgate::model::EndpointName;
use tollgate::providers::{self, samples};
use tollgate::receipt::Request;
use tollgate_client::proto;
use tollgate_client::proto::ReceiptState;

use crate::gateway::{TestGateway, config};
use stub::Stub;

/// What the provider's API is asked with, and no webhook is verified with.
const API_SECRETS: &[&str] = &["client_id", "client_secret", "refresh_token"];
/// How long a vector's receipts may wait for the API.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// How long one that nothing confirms yet may wait for the answers that its vector still has.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);
/// How a request is framed and where it goes, which the connection that it is sent over decides.
const OF_THE_CONNECTION: [&str; 5] =
    ["connection", "content-length", "expect", "host", "transfer-encoding"];

/// How a file's vectors came out.
#[derive(Default)]
struct Count {
    vectors: usize,
    canonical: usize,
    wrong: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let folder = std::env::var_os("TOLLGATE_VECTORS").map_or(own, PathBuf::from);
    let mut all = Count::default();
    for path in json_files(&folder) {
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        if providers::find(&name).is_none() {
            println!("{name}: skipped, there is no such provider yet");
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let vectors: Vec<Value> = serde_json::from_str(&text).expect("a JSON list");
        let count = run_file(&name, &vectors).await;
        println!("{name}: {count}");
        all.vectors += count.vectors;
        all.canonical += count.canonical;
        all.wrong += count.wrong;
    }
    println!("all: {all}");
    assert!(all.vectors > 0, "no vectors in {}", folder.display());
    assert_eq!(all.wrong, 0, "wrong vectors; see the output");
}

impl std::fmt::Display for Count {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Count { vectors, canonical, wrong } = self;
        write!(out, "{vectors} vectors, {canonical} with canonical, {wrong} wrong")
    }
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    files
}

async fn run_file(provider: &str, vectors: &[Value]) -> Count {
    let mut config = config("");
    config.fetch.min_backoff = Duration::from_millis(10);
    config.fetch.max_backoff = Duration::from_millis(20);
    config.fetch.max_attempts = 3;
    // Only the stub answers.
    config.fetch.connect_timeout = Duration::from_secs(1);
    config.fetch.timeout = Duration::from_secs(5);
    config.fetch.first_poll = Duration::from_secs(24 * 60 * 60);
    let gateway = TestGateway::with(config).await;
    let mut count = Count::default();
    for (index, vector) in vectors.iter().enumerate() {
        count.vectors += 1;
        count.canonical += usize::from(vector.get("expected_canonical").is_some());
        if let Err(wrong) = run(&gateway, provider, index, vector).await {
            count.wrong += 1;
            println!("{provider}/{}: {wrong}", vector["name"].as_str().unwrap_or("?"));
        }
    }
    count
}

/// One vector at an endpoint of its own, so that no other vector's events count as its duplicates.
async fn run(
    gateway: &TestGateway,
    provider: &str,
    index: usize,
    vector: &Value,
) -> Result<(), String> {
    let name = EndpointName::new(provider, &format!("v{index}")).expect("a name");
    let stub = Stub::start(vector).await;
    let config = match config_of(&name, vector, &stub) {
        // An endpoint that could verify nothing does not even start. One that does not know a name of
        // the vector's was not tried.
        Err(error) if vector["expect"] == "reject" && !is_unknown_name(&error) => return Ok(()),
        config => config?,
    };
    gateway.gateway().reload(config).await.map_err(|error| error.to_string())?;
    let now = vector["now_unix"].as_i64().ok_or("no now_unix")?;
    let now = jiff::Timestamp::from_second(now).map_err(|error| error.to_string())?;
    gateway.clock().set(now);
    let answered = arrive(gateway, &name, vector).await?;
    let receipts = settled(gateway, name.as_str(), &stub).await?;
    let events = events_of(gateway, name.as_str()).await;
    if let Some(reply) = &answered {
        judge::reply(vector, reply, &receipts)?;
    }
    if vector["expect"] == "reject" {
        return judge::rejected(&events, &receipts);
    }
    if answered.is_some() {
        judge::receipt(vector, receipts.first())?;
    }
    let asked = || stub.calls().iter().map(|one| one.path.clone()).collect::<Vec<_>>();
    judge::canonical(vector, &events, receipts.first())
        .map_err(|wrong| format!("{wrong}; asked for {:?}", asked()))?;
    judge::silence(vector, &events)?;
    judge::outgoing(vector, &stub.calls())?;
    stub.begin_again();
    arrive(gateway, &name, vector).await?;
    settled(gateway, name.as_str(), &stub).await?;
    match events_of(gateway, name.as_str()).await.len() {
        again if again == events.len() => Ok(()),
        again => Err(format!("{again} events after the same bytes came again")),
    }
}

/// Posts the request, or polls; the answer to a request.
async fn arrive(
    gateway: &TestGateway,
    endpoint: &EndpointName,
    vector: &Value,
) -> Result<Option<judge::Reply>, String> {
    if vector["method"] == "POLL" {
        let polled = gateway.gateway().poll(endpoint).await;
        // A poll that is refused tells nothing, and is asked again later.
        let may_fail = vector["expected_canonical"].as_array().is_some_and(Vec::is_empty);
        return match polled {
            Err(error) if !may_fail => Err(error.to_string()),
            Ok(()) | Err(_) => Ok(None),
        };
    }
    let response = gateway.post_raw(request_of(vector)?).await;
    let content_type = response.headers().get("content-type");
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(Some(judge::Reply {
        status: response.status().as_u16(),
        content_type: content_type.to_owned(),
        body: response.text().await.map_err(|error| error.to_string())?,
    }))
}

/// The endpoint's receipts, newest first, once none waits for the provider's API. One that nothing confirms
/// and that failed once is as settled as it gets, unless the API has more to say.
async fn settled(
    gateway: &TestGateway,
    endpoint: &str,
    stub: &Stub,
) -> Result<Vec<proto::Receipt>, String> {
    let started = Instant::now();
    let is_waiting = |receipt: &proto::Receipt| match receipt.state() {
        ReceiptState::Fetching => true,
        ReceiptState::Unconfirmed => {
            let may_change = stub.has_more() && started.elapsed() < CONFIRMED_WITHIN;
            receipt.reason.is_empty() || may_change
        }
        _ => false,
    };
    loop {
        let receipts = receipts_of(gateway, endpoint).await;
        let Some(waiting) = receipts.iter().find(|receipt| is_waiting(receipt)) else {
            return Ok(receipts);
        };
        if started.elapsed() > SETTLED_WITHIN {
            return Err(format!(
                "{} is still {:?} `{}`",
                waiting.name,
                waiting.state(),
                waiting.reason
            ));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The endpoint: what the vector says, and each setting for a URL at the stub unless the vector has it.
fn config_of(name: &EndpointName, vector: &Value, stub: &Stub) -> Result<Config, String> {
    let url = vector["url"].as_str().filter(|url| !url.is_empty());
    let url = url.unwrap_or("https://hooks.example.test/polled");
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.split('?').next().unwrap_or_default();
    let mut text = format!(
        "[auth]\nmode = \"none\"\n[http]\npublic_url = \"{scheme}://{host}\"\n[[endpoints]]\n\
         provider = \"{}\"\nname = \"{}\"\npath = \"/{path}\"\n",
        name.provider(),
        name.name()
    );
    let mut settings = vector["config"].as_object().cloned().unwrap_or_default();
    for key in ["scheme", "standard"] {
        settings.extend(vector.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    let provider = providers::find(name.provider()).ok_or("no such provider")?;
    for setting in provider.settings.iter().filter(|setting| is_api_url(setting)) {
        match settings.get(*setting).and_then(Value::as_str) {
            Some(given) => {
                let url = format!("{}{}", stub.url, samples::path_of(given).trim_end_matches('/'));
                settings.insert((*setting).to_owned(), url.into());
            }
            // Where keys are is told by a vector that wants them fetched.
            None if setting.starts_with("jwks") => {}
            None => drop(settings.insert((*setting).to_owned(), stub.url.as_str().into())),
        }
    }
    if vector["method"] == "POLL" {
        let polled = polled(vector);
        let of_provider = polled.filter(|(name, _)| provider.settings.contains(name));
        for (name, value) in of_provider {
            settings.entry(name).or_insert_with(|| value.into());
        }
    }
    let mut secrets = vector["secrets"].as_object().cloned().unwrap_or_default();
    // Vectors seldom tell what the API is asked with; the stub takes anything.
    let wants = |stub: &Value| stub["required_headers"].to_string().contains("Authorization");
    let is_wanted = vector["stub_api"].as_array().is_some_and(|all| all.iter().any(wants))
        || vector.get("expected_outgoing").is_some();
    for name in API_SECRETS {
        if is_wanted && provider.secrets.iter().any(|secret| secret.name == *name) {
            secrets.entry(*name).or_insert_with(|| "stub".into());
        }
    }
    // What is empty is not configured.
    let is_told = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    secrets.retain(|_, value| is_told(value));
    settings.retain(|_, value| !value.is_null());
    for (prefix, table) in [("secrets.", &secrets), ("", &settings)] {
        for (key, value) in table {
            let is_texts = value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
            // A JSON string or list of strings is one in TOML too.
            let value = match value {
                Value::String(_) => value.to_string(),
                Value::Array(_) if is_texts => value.to_string(),
                other => Value::String(other.to_string()).to_string(),
            };
            text.push_str(&format!("{prefix}{key} = {value}\n"));
        }
    }
    Config::parse(&text, "vector", []).map_err(|error| error.to_string())
}

fn is_unknown_name(error: &str) -> bool {
    ["unknown secret of ", "unknown key of "].iter().any(|part| error.contains(part))
}

/// What a poll is about: account and version are those in the path of the first answer.
fn polled(vector: &Value) -> impl Iterator<Item = (&'static str, &str)> {
    let path = vector["stub_api"][0]["path"].as_str().unwrap_or_default();
    let part = |before| path.split_once(before).and_then(|(_, rest)| rest.split('/').next());
    let parts = [("account_ids", part("/accounts/")), ("version", part("/open-banking/"))];
    parts.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

/// Whether a setting is where the provider's API is.
fn is_api_url(setting: &str) -> bool {
    setting.ends_with("_url") && setting != "notification_url"
}

fn request_of(vector: &Value) -> Result<Request, String> {
    let url = vector["url"].as_str().ok_or("no url")?;
    let (_, rest) = url.split_once("://").ok_or("no scheme")?;
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    let mut headers = http::HeaderMap::new();
    for (name, value) in vector["headers"].as_object().into_iter().flatten() {
        let name = http::HeaderName::try_from(name).map_err(|error| error.to_string())?;
        if OF_THE_CONNECTION.contains(&name.as_str()) {
            continue;
        }
        // A header that stands several times has a list of values.
        for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
            let value = value.as_str().ok_or("a header that is no text")?;
            let value = http::HeaderValue::from_bytes(value.as_bytes());
            headers.append(name.clone(), value.map_err(|error| error.to_string())?);
        }
    }
    let body = match (vector["body_base64"].as_str(), vector["body"].as_str()) {
        (Some(text), _) => BASE64.decode(text).map_err(|error| error.to_string())?,
        (None, text) => text.unwrap_or_default().as_bytes().to_vec(),
    };
    let method = vector["method"].as_str().unwrap_or("POST");
    let method = method.to_ascii_uppercase().parse().map_err(|_| "a method")?;
    Ok(Request { method, path: path.to_owned(), headers, body: body.into() })
}

async fn events_of(gateway: &TestGateway, endpoint: &str) -> Vec<proto::Event> {
    let filter = proto::Filter {
        endpoints: vec![endpoint.to_owned()],
        live_mode: proto::LiveMode::All.into(),
        ..proto::Filter::default()
    };
    let mut events = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListEventsRequest {
            filter: Some(filter.clone()),
            page_size: 1000,
            page_token,
            ..proto::ListEventsRequest::default()
        };
        let page = gateway.client().await.events().list_events(request).await;
        let page = page.expect("a page").into_inner();
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return events;
        }
    }
}

async fn receipts_of(gateway: &TestGateway, endpoint: &str) -> Vec<proto::Receipt> {
    let request = proto::ListReceiptsRequest {
        endpoints: vec![endpoint.to_owned()],
        ..proto::ListReceiptsRequest::default()
    };
    let page = gateway.client().await.receipts().list_receipts(request).await;
    page.expect("a page").into_inner().receipts
}
