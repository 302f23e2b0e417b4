//! What the provider modules share in making sample requests for `send`, the demo and the load generator:
//! in comes what a sample is to say, out come ids, amounts and a POST at the endpoint. One seed always
//! gives the same payment, so that the events of one life belong together. A sample must never hold
//! anything of a real customer.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::receipt::Request;

use crate::model::Draft;
use crate::receipt::Receipt;

use super::{
    Answer, Endpoint, Fetch, Fetching, Provider, Sample, SampleAnswer, SampleOrder, Step,
    TranslateError, Translation,
};

/// The customer of all samples.
pub const CUSTOMER_NAME: &str = "Example Customer";
/// Their email address.
pub const CUSTOMER_EMAIL: &str = "customer@example.com";

/// The amount of the payment that the seed makes, in minor units: 5.00 to 504.99.
pub fn amount(seed: &str) -> i64 {
    const LEAST: u64 = 500;
    const SPAN: u64 = 50_000;
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    i64::try_from(LEAST + hash % SPAN).expect("the sum is far below 2^63")
}

/// The part of the amount that partial payments and refunds are about.
pub fn part_of(amount: i64) -> i64 {
    amount * 2 / 5
}

/// The event id: as ordered, else one that type and seed make.
pub fn event_id(order: &SampleOrder<'_>) -> String {
    match order.event_id {
        Some(id) => id.to_owned(),
        None => format!("evt_{}_{}", order.seed, order.event_type),
    }
}

/// The first value of the endpoint's secret; samples are signed with it.
pub fn first_secret<'a>(endpoint: &'a Endpoint, name: &'static str) -> Option<&'a str> {
    endpoint.candidates(name).secrets.first().map(ExposeSecret::expose_secret)
}

/// What an API answers in a sample: JSON, with a 200.
pub fn answer(method: Method, path: impl Into<String>, body: &serde_json::Value) -> SampleAnswer {
    SampleAnswer { method, path: path.into(), status: 200, body: body.to_string().into() }
}

/// What a sample's receipt says, its fetches answered by the sample.
pub fn drafts(
    provider: &Provider,
    endpoint: &Endpoint,
    receipt: &Receipt,
    sample: &Sample,
) -> Result<Option<Vec<Draft>>, TranslateError> {
    match (provider.translate)(receipt, endpoint)? {
        Translation::Events(drafts) => Ok(Some(drafts)),
        Translation::Partly(_, error) => Err(error),
        Translation::Unknown(_) => Ok(None),
        Translation::Fetches(fetches) => {
            let fetched = fetches
                .iter()
                .map(|fetch| fetched(provider, endpoint, fetch, receipt.received_at(), sample));
            Ok(Some(fetched.collect::<Result<Vec<_>, _>>()?.concat()))
        }
    }
}

/// What one fetch gives, each call answered by the first answer of the sample that is left for it.
pub fn fetched(
    provider: &Provider,
    endpoint: &Endpoint,
    fetch: &Fetch,
    received_at: Timestamp,
    sample: &Sample,
) -> Result<Vec<Draft>, TranslateError> {
    let mut left: Vec<&SampleAnswer> = sample.answers.iter().collect();
    let mut answers = Vec::new();
    loop {
        let fetching = Fetching {
            endpoint,
            fetch,
            received_at,
            now: received_at,
            cursor: "",
            answers: &answers,
        };
        let call = match (provider.fetch)(&fetching)? {
            Step::Done { drafts, .. } => return Ok(drafts),
            Step::Denied => return Ok(Vec::new()),
            Step::Later(reason) => return Err(TranslateError(reason)),
            Step::Call(call) => call,
        };
        let path = path_of(&call.url);
        let fits = |answer: &&SampleAnswer| answer.method == call.method && answer.path == path;
        let at = left.iter().position(fits);
        let at =
            at.ok_or_else(|| TranslateError(format!("the sample has no answer to {call:?}")))?;
        let answer = left.remove(at);
        answers.push(Answer {
            status: answer.status,
            headers: HeaderMap::new(),
            body: answer.body.clone(),
        });
    }
}

/// The path of a URL, without the query.
pub fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    path.split('?').next().unwrap_or_default()
}

/// A POST of JSON at the endpoint. `None` where a header's value is not one.
pub fn post(
    endpoint: &Endpoint,
    headers: &[(&'static str, &str)],
    body: Vec<u8>,
) -> Option<Request> {
    let mut map = HeaderMap::new();
    map.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    for (name, value) in headers {
        map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).ok()?);
    }
    let path = endpoint.path.clone();
    Some(Request { method: Method::POST, path, headers: map, body: body.into() })
}
