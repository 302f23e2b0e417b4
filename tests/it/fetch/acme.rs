//! A made-up provider whose webhooks only name what changed, and a gateway that has it. How its API is
//! asked, and whether its webhooks need keys or confirmations, is up to headers and settings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use tollgate::config::Config;
use tollgate::model::{
    Collection, Draft, EndpointName, Fact, Money, PaymentFact, PaymentStatus, References, Subject,
    SubjectKind,
};
use tollgate::providers::{
    Auth, Call, Challenge, Endpoint, Fetch, Fetching, KeyRequest, Keys, OAuth, Provider, REPLIES,
    Replies, Reply, SecretKey, Step, TranslateError, Translation, Verdict, no_check,
};
use tollgate::receipt::{Receipt, Redaction, Request, VerifyError, signature};
use tollgate::store::Store;
use tollgate_client::proto;

use super::api::Api;
use crate::gateway::{TestGateway, config, open_store};

pub const TOKEN: &str = "a-shared-token";
/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const PROVIDERS: &[Provider] = &[ACME];

const ACME: Provider = Provider {
    name: "acme",
    title: "Acme",
    secrets: &[SecretKey { name: "token", required: true }],
    settings: &["api_url", "auth", "poll", "poll_interval"],
    structured: &[],
    events: &["payment"],
    redaction: Redaction { headers: &["x-token"], query: &[], body_members: &[] },
    // Resolves to this machine only, which is never public.
    hosts: &["localhost"],
    check: no_check,
    verify,
    translate,
    fetch,
    poll,
    replies: Replies {
        unknown: Reply { status: 202, content_type: "", body: "unknown" },
        methods: &[Method::POST, Method::GET],
        ..REPLIES
    },
    sample: |_, _| None,
    example: Vec::new,
};

fn verify(
    request: &Request,
    endpoint: &Endpoint,
    keys: &Keys,
    _now: Timestamp,
) -> Result<Verdict, VerifyError> {
    if request.method == Method::GET {
        return Ok(Verdict::Challenge(Challenge {
            status: 200,
            headers: vec![("content-type", "text/plain".to_owned())],
            body: "echo".to_owned(),
        }));
    }
    if request.headers.contains_key("x-unconfirmed") {
        return Ok(Verdict::NeedsConfirmation(signature::unconfirmed()));
    }
    if let Ok(id) = request.header("x-key") {
        let Some(key) = keys.get(id) else {
            return Ok(Verdict::NeedsKey(Box::new(KeyRequest {
                id: id.to_owned(),
                call: Call::get(format!("{}/keys/{id}", endpoint.setting("api_url", ""))),
                max_age: SignedDuration::from_hours(1),
            })));
        };
        if key.body != request.header("x-signature")?.as_bytes() {
            return Err(VerifyError::Mismatch("key"));
        }
    }
    let token = request.header("x-token")?;
    signature::shared_token(endpoint.candidates("token"), token).map(Verdict::Verified)
}

fn translate(receipt: &Receipt, _: &Endpoint) -> Result<Translation, TranslateError> {
    let body: Value =
        serde_json::from_slice(receipt.body()).map_err(|_| TranslateError("no JSON".to_owned()))?;
    if let Some(kind) = body["type"].as_str() {
        return Ok(Translation::Unknown(kind.to_owned()));
    }
    let told = body["told"].as_str().unwrap_or_default();
    let objects = body["objects"].as_array().cloned().unwrap_or_default();
    let fetches = objects
        .iter()
        .filter_map(Value::as_str)
        .map(|object| Fetch { object: object.to_owned(), told: told.to_owned() });
    Ok(Translation::Fetches(fetches.collect()))
}

fn fetch(fetching: &Fetching<'_>) -> Result<Step, TranslateError> {
    let (endpoint, object) = (fetching.endpoint, fetching.fetch.object.as_str());
    let base = endpoint.setting("api_url", "");
    let [.., last] = fetching.answers else {
        let url = match object {
            "list" => format!("{base}/list?after={}", fetching.cursor),
            "private" => "https://localhost/payments/p1".to_owned(),
            "elsewhere" => "https://elsewhere.example.test/payments/p1?secret=1".to_owned(),
            _ => format!("{base}/payments/{object}?secret=1"),
        };
        return Ok(Step::Call(Call::get(url).auth(auth(endpoint, base))));
    };
    if last.status == 404 {
        return Ok(Step::Denied);
    }
    let body: Value =
        serde_json::from_slice(&last.body).map_err(|_| TranslateError("no JSON".to_owned()))?;
    let items = body["items"].as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
    let drafts = items.iter().map(|item| draft(fetching, item)).collect::<Result<_, _>>()?;
    Ok(Step::Done { drafts, cursor: body["next"].as_str().map(str::to_owned) })
}

fn auth(endpoint: &Endpoint, base: &str) -> Auth {
    let secret = |text: &str| SecretString::from(text.to_owned());
    let oauth = |refresh_token| {
        Auth::OAuth(Box::new(OAuth {
            token_url: format!("{base}/token"),
            client_id: secret("client"),
            client_secret: secret("hush-hush"),
            credentials_in_body: false,
            refresh_token,
            scope: "read",
            scheme: "Bearer",
        }))
    };
    match endpoint.setting("auth", "") {
        "client" => oauth(None),
        "refresh" => oauth(Some(secret("refresh-1"))),
        _ => Auth::None,
    }
}

fn draft(fetching: &Fetching<'_>, item: &Value) -> Result<Draft, TranslateError> {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let (id, told) = (text("id"), &fetching.fetch.told);
    if id.is_empty() {
        return Err(TranslateError("no `id`".to_owned()));
    }
    let status = match item["status"].as_str() {
        Some("paid") => PaymentStatus::Paid,
        _ => PaymentStatus::Pending,
    };
    let total = Money::new(1250, "EUR").map_err(|_| TranslateError("no money".to_owned()))?;
    Ok(Draft {
        key: format!("{id}:{}:{told}", text("status")),
        event_id: format!("{id}:{told}"),
        event_type: "payment".to_owned(),
        occurred_at: fetching.received_at,
        version: 0,
        rank: 0,
        subject: Subject {
            kind: SubjectKind::Payment,
            endpoint: fetching.endpoint.name.clone(),
            id,
        },
        references: References::default(),
        live: true,
        fact: Fact::Payment(PaymentFact {
            status: Some(status),
            amount: Some(total),
            collection: Some(Collection { status, total: Some(total), paid: None }),
            ..PaymentFact::default()
        }),
    })
}

fn poll(endpoint: &Endpoint) -> Vec<Fetch> {
    match endpoint.setting("poll", "") {
        "" => Vec::new(),
        _ => vec![Fetch { object: "list".to_owned(), told: String::new() }],
    }
}

/// A gateway with one endpoint of the provider.
pub struct Acme {
    pub gateway: TestGateway,
    pub api: Api,
}

/// The gateway's configuration: short waits, few attempts.
pub fn configured(api: &Api, settings: &[(&str, &str)]) -> Config {
    let mut config = config("");
    config.fetch.min_backoff = Duration::from_millis(10);
    config.fetch.max_backoff = Duration::from_secs(2);
    config.fetch.max_attempts = 3;
    config.fetch.first_poll = Duration::from_secs(3600);
    let mut all = BTreeMap::from([("api_url".to_owned(), api.url.clone())]);
    all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    config.endpoints = vec![Endpoint {
        name: endpoint(),
        path: "/webhooks/acme/test".to_owned(),
        url: "https://hooks.example.test/webhooks/acme/test".to_owned(),
        secrets: [("token".to_owned(), vec![SecretString::from(TOKEN)])].into(),
        settings: all,
    }];
    config
}

pub fn endpoint() -> EndpointName {
    EndpointName::new("acme", "test").expect("a name")
}

/// A payment as the API has it.
pub fn payment(id: &str, status: &str) -> Value {
    json!({ "id": id, "status": status })
}

/// A webhook about these objects.
pub fn webhook(objects: &[&str], told: &str) -> Request {
    request(&[("x-token", TOKEN)], json!({ "objects": objects, "told": told }).to_string())
}

pub fn request(headers: &[(&'static str, &str)], body: String) -> Request {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().expect("a header"));
    }
    let path = "/webhooks/acme/test?q=private".to_owned();
    Request { method: Method::POST, path, headers: map, body: body.into() }
}

impl Acme {
    pub async fn start(settings: &[(&str, &str)]) -> Acme {
        Acme::with(settings, |_| {}).await
    }

    pub async fn with(settings: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Acme {
        let open =
            |path: PathBuf| async move { Arc::new(open_store(&path).await) as Arc<dyn Store> };
        Acme::over(settings, change, open).await
    }

    pub async fn over<F: Future<Output = Arc<dyn Store>>>(
        settings: &[(&str, &str)],
        change: impl FnOnce(&mut Config),
        open: impl FnOnce(PathBuf) -> F,
    ) -> Acme {
        let api = Api::start().await;
        let mut config = configured(&api, settings);
        change(&mut config);
        let gateway = TestGateway::of_providers(PROVIDERS, config, open).await;
        Acme { gateway, api }
    }

    pub async fn restart(self) -> Acme {
        Acme { gateway: self.gateway.restart().await, api: self.api }
    }

    /// Posts a webhook that must be accepted.
    pub async fn accept(&self, objects: &[&str], told: &str) {
        assert_eq!(self.gateway.post(webhook(objects, told)).await, 200);
    }

    /// The receipts, newest first.
    pub async fn receipts(&self) -> Vec<proto::Receipt> {
        let list = proto::ListReceiptsRequest::default();
        let page = self.gateway.client().await.receipts().list_receipts(list).await;
        page.expect("a page").into_inner().receipts
    }

    /// The newest receipt, once it is as wanted.
    pub async fn receipt_when(&self, wanted: impl Fn(&proto::Receipt) -> bool) -> proto::Receipt {
        let started = Instant::now();
        loop {
            let newest = self.receipts().await.into_iter().next();
            if let Some(receipt) = newest.clone().filter(&wanted) {
                return receipt;
            }
            assert!(started.elapsed() < PATIENCE, "still {newest:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The newest receipt, once it is in this state.
    pub async fn receipt_in(&self, state: proto::ReceiptState) -> proto::Receipt {
        self.receipt_when(|receipt| receipt.state() == state).await
    }

    /// The ids of all events in the log, in order.
    pub async fn events(&self) -> Vec<String> {
        let list = proto::ListEventsRequest { page_size: 1000, ..Default::default() };
        let page = self.gateway.client().await.events().list_events(list).await;
        let events = page.expect("a page").into_inner().events;
        events.into_iter().map(|event| event.provider_event_id).collect()
    }

    /// As `events`, however many.
    pub async fn all_events(&self) -> Vec<String> {
        let mut ids = Vec::new();
        let mut page_token = String::new();
        loop {
            let list =
                proto::ListEventsRequest { page_size: 1000, page_token, ..Default::default() };
            let page = self.gateway.client().await.events().list_events(list).await;
            let page = page.expect("a page").into_inner();
            ids.extend(page.events.into_iter().map(|event| event.provider_event_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return ids;
            }
        }
    }

    /// Has a receipt tried again.
    pub async fn retry(&self, name: &str) -> proto::Receipt {
        let retry = proto::RetryReceiptRequest { name: name.to_owned() };
        let retried = self.gateway.client().await.receipts().retry_receipt(retry).await;
        retried.expect("handed over").into_inner().receipt.expect("a receipt")
    }

    pub async fn raw(&self, name: &str) -> proto::RawRequest {
        let get = proto::GetReceiptRequest { name: name.to_owned(), raw: true };
        let found = self.gateway.client().await.receipts().get_receipt(get).await;
        found.expect("found").into_inner().receipt.and_then(|receipt| receipt.raw).expect("raw")
    }
}
