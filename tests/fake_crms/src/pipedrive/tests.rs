//! That the double refuses what the vendor refuses: requests as they would be sent, without a server.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::account::PAYMENT_ID;
use super::entities::Entity;
use super::{Auth, Pipedrive, Settings};
use crate::{Backend, Clock, Host, Life, Reply, Request, Site};

const STATUS: &str = "2d4c6b8a0f1e3d5c7b9a8f6e4d2c0b1a3f5e7d9c";
const PAID: &str = "5c2e7d9b1f3a4c6e8d0b2f4a6c8e0d1b3f5a7c9e";

fn double(settings: Settings) -> Pipedrive {
    let now = jiff::Timestamp::from_second(1_800_000_000).expect("a time");
    let clock = Clock::standing(now);
    Pipedrive::new(Settings { clock: clock.clone(), ..settings }, &Site::unbound(clock))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
    });
    pairs.collect()
}

fn call(double: &Pipedrive, method: Method, target: &str, body: &Value) -> Reply {
    let token = double.secrets.api_token.clone();
    let headers = headers(&[("x-api-token", &token), ("content-type", "application/json")]);
    double.handle(&Request::new(method, target, headers, Bytes::from(body.to_string())))
}

fn get(double: &Pipedrive, target: &str) -> Reply {
    call(double, Method::GET, target, &Value::Null)
}

#[test]
fn bodies_that_the_api_refuses_are_refused_and_change_nothing() {
    let double = double(Settings::default());
    let id = double.insert(Entity::Deals, &json!({ "title": "x", PAYMENT_ID: "pay_1" }));
    let before = double.record(Entity::Deals, &id);
    let target = format!("/api/v2/deals/{id}");
    for body in [
        json!({ STATUS: 43 }),
        json!({ "custom_fields": { "f".repeat(40): "x" } }),
        json!({ "custom_fields": { STATUS: "Paid" } }),
        json!({ "custom_fields": { STATUS: 999 } }),
        json!({ "custom_fields": { STATUS: [] } }),
        json!({ "custom_fields": { PAID: 12.5 } }),
        json!({ "custom_fields": { PAID: { "value": 12.5 } } }),
        json!({ "custom_fields": { PAID: { "value": "12.5", "currency": "EUR" } } }),
        json!({ "custom_fields": { PAYMENT_ID: "x".repeat(256) } }),
        json!({ "custom_fields": { PAYMENT_ID: 1 } }),
        json!({ "title": "" }),
        json!({ "status": "Paid" }),
        json!({ "add_time": "2026-11-24" }),
        json!([]),
    ] {
        let reply = call(&double, Method::PATCH, &target, &body);
        assert_eq!(reply.status, 400, "{body}");
        let told = reply.body_json().expect("JSON");
        assert_eq!(told["code"], json!("ERR_SCHEMA_VALIDATION_FAILED"), "{body}");
    }
    let untitled = call(&double, Method::POST, "/api/v2/deals", &json!({ "custom_fields": {} }));
    assert_eq!(untitled.status, 400);
    assert_eq!(double.record(Entity::Deals, &id), before);
    assert_eq!(call(&double, Method::PATCH, &target, &json!({ "title": "y" })).status, 200);
}

#[test]
fn routes_and_methods_that_are_not_there_are_refused() {
    let double = double(Settings::default());
    let id = double.insert(Entity::Deals, &json!({ "title": "x" }));
    let body = json!({ "title": "y" });
    for (method, target, status) in [
        (Method::PUT, format!("/api/v2/deals/{id}"), 405),
        (Method::POST, "/api/v2/deals/batch".to_owned(), 404),
        (Method::PATCH, "/api/v2/deals/upsert".to_owned(), 404),
        (Method::PATCH, "/api/v2/deals/999".to_owned(), 404),
        (Method::POST, "/api/v2/itemSearch/field".to_owned(), 405),
        (Method::GET, "/api/v3/deals/1".to_owned(), 404),
    ] {
        assert_eq!(call(&double, method, &target, &body).status, status, "{target}");
    }
    for status in [404, 410] {
        let double = self::double(Settings { deleted_status: status, ..Settings::default() });
        let id = double.insert(Entity::Deals, &json!({ "title": "x" }));
        double.set_life(Entity::Deals, &id, Life::Deleted);
        let reply = call(&double, Method::PATCH, &format!("/api/v2/deals/{id}"), &body);
        assert_eq!(reply.status, status);
    }
}

#[test]
fn searches_are_exact_lag_behind_and_see_no_options() {
    let double = double(Settings::default());
    for _ in 0..2 {
        double.insert(Entity::Deals, &json!({ "title": "Deal", PAYMENT_ID: "Pay_1", STATUS: 43 }));
    }
    let field = |code: &str, term: &str| {
        let target = format!(
            "/api/v2/itemSearch/field?entity_type=deal&match=exact&field={code}&term={term}"
        );
        let reply = get(&double, &target);
        reply.body_json().expect("JSON")["data"].as_array().map_or(usize::MAX, Vec::len)
    };
    assert_eq!(field(PAYMENT_ID, "Pay_1"), 0);
    double.site.clock.advance(Duration::from_secs(3));
    assert_eq!(field(PAYMENT_ID, "Pay_1"), 2);
    assert_eq!(field(PAYMENT_ID, "pay_1"), 0);
    assert_eq!(field(STATUS, "43"), 0);
    let found =
        get(&double, "/api/v2/deals/search?term=pay_1&fields=custom_fields&exact_match=true");
    let found = found.body_json().expect("JSON");
    assert_eq!(found["data"]["items"].as_array().map(Vec::len), Some(2));
    for target in [
        "/api/v2/deals/search?term=p",
        "/api/v2/deals/search?term=&exact_match=true",
        "/api/v2/deals/search?term=pay&colour=red",
        "/api/v2/deals/search?term=pay&limit=101",
        "/api/v2/itemSearch/field?entity_type=deal&field=title&term=",
        "/api/v2/itemSearch/field?entity_type=invoice&field=title&term=xx",
        "/api/v2/itemSearch/field?entity_type=deal&field=nowhere&term=xx",
        "/api/v2/itemSearch/field?entity_type=deal&field=title&term=x&match=middle",
    ] {
        assert_eq!(get(&double, target).status, 400, "{target}");
    }
}

#[test]
fn credentials_are_taken_where_they_belong_and_nowhere_else() {
    let double = double(Settings { auth: Auth::Oauth, ..Settings::default() });
    let token = double.tokens.issue("x");
    let api_token = double.secrets.api_token.clone();
    for (headers, status) in [
        (headers(&[]), 401),
        (headers(&[("x-api-token", "wrong")]), 401),
        (headers(&[("x-api-token", &token)]), 401),
        (headers(&[("authorization", &format!("Bearer {api_token}"))]), 401),
        (headers(&[("authorization", &format!("Token {token}"))]), 401),
        (headers(&[("authorization", &format!("Bearer {token}"))]), 200),
        (headers(&[("x-api-token", &api_token)]), 200),
    ] {
        let request = Request::new(Method::GET, "/v1/users/me", headers, Bytes::new());
        assert_eq!(double.handle(&request).status, status);
    }
    let secrets = &double.secrets;
    let basic = STANDARD.encode(format!("{}:{}", secrets.client_id, secrets.client_secret));
    let right = format!("grant_type=refresh_token&refresh_token={}", secrets.refresh_token);
    let form = "application/x-www-form-urlencoded";
    for (basic, content_type, body, status) in [
        (basic.as_str(), form, right.as_str(), 200),
        ("wrong", form, &right, 401),
        (&basic, "application/json", &right, 400),
        (&basic, form, "grant_type=refresh_token&refresh_token=x", 400),
        (&basic, form, "grant_type=password", 400),
    ] {
        let headers = headers(&[
            ("authorization", &format!("Basic {basic}")),
            ("content-type", content_type),
        ]);
        let body = Bytes::from(body.to_owned());
        let request = Request::new(Method::POST, "/oauth/token", headers, body);
        let request = Request { host: Host::Auth, ..request };
        assert_eq!(double.handle(&request).status, status);
    }
}

#[test]
fn every_answer_tells_the_points_and_a_refusal_no_retry_after() {
    let double = double(Settings { points_per_2_seconds: 20, ..Settings::default() });
    let id = double.insert(Entity::Deals, &json!({ "title": "x" }));
    let day = double.daily_left();
    for (target, cost) in [
        (format!("/api/v2/deals/{id}"), 1),
        ("/api/v2/dealFields".to_owned(), 10),
        ("/api/v2/deals/search?term=xx".to_owned(), 20),
    ] {
        double.site.clock.advance(Duration::from_secs(2));
        let left = double.daily_left();
        let reply = get(&double, &target);
        assert_eq!(left - double.daily_left(), cost, "{target}");
        assert_eq!(reply.headers["x-ratelimit-limit"], "20");
        assert_eq!(reply.headers["x-ratelimit-remaining"], (20 - cost).to_string().as_str());
        let told = reply.headers["x-daily-ratelimit-token-remaining"].to_str().expect("text");
        assert_eq!(told, double.daily_left().to_string());
    }
    let refused = get(&double, "/api/v2/dealFields");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.headers["x-ratelimit-reset"], "2");
    assert!(refused.retry_after().is_none());
    assert_eq!(day - double.daily_left(), 31);
}
