//! What the provider modules share in making sample requests for `send`, the demo and the load generator:
//! in comes what a sample is to say, out come ids, amounts and a POST at the endpoint. One seed always
//! gives the same payment, so that the events of one life belong together. A sample must never hold
//! anything of a real customer.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret;

use crate::receipt::Request;

use super::{Endpoint, SampleOrder};

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
