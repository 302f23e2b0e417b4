//! What the double refuses, as HubSpot does.

use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::{Backend, Host, Reply, Request};

const BASE: &str = "/crm/objects/2026-09/deals";

fn account(settings: Settings) -> Hubspot {
    Hubspot::new(&Site::unbound(settings.clock.clone()), settings)
}

fn request(method: Method, target: &str, body: &Value) -> Request {
    let mut headers = HeaderMap::new();
    let token = HeaderValue::from_str(&format!("Bearer {TOKEN}")).expect("a header");
    headers.insert("authorization", token);
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    Request::new(method, target, headers, body.to_string().into())
}

fn post(hubspot: &Hubspot, action: &str, body: &Value) -> Reply {
    hubspot.handle(&request(Method::POST, &format!("{BASE}/{action}"), body))
}

fn category(reply: &Reply) -> (u16, String) {
    let body = reply.body_json().expect("JSON");
    assert_eq!(body["status"], "error", "{body}");
    (reply.status.as_u16(), body["category"].as_str().unwrap_or_default().to_owned())
}

fn input(id: &str, status: &str) -> Value {
    let properties = json!({
        "dealname": "A payment", "dealstage": "closedwon", "payment_status": status,
    });
    json!({ "idProperty": "payment_id", "id": id, "properties": properties })
}

fn batch(inputs: &[Value]) -> Value {
    json!({ "inputs": inputs })
}

#[test]
fn batches_that_are_not_as_they_should_be_are_refused_and_write_nothing() {
    let hubspot = account(Settings::default());
    let with = |key: &str, value: Value| {
        let mut one = input("pay_1", "paid");
        one[key] = value;
        batch(&[input("pay_0", "paid"), one])
    };
    let without = |key: &str| {
        let mut one = input("pay_1", "paid");
        one.as_object_mut().expect("an object").remove(key);
        batch(&[input("pay_0", "paid"), one])
    };
    let many: Vec<Value> = (0..101).map(|n| input(&format!("pay_{n}"), "paid")).collect();
    let by_id = json!({ "idProperty": "hs_object_id", "id": "1", "properties": {} });
    let wrong = [
        batch(&many),
        batch(&[]),
        json!({}),
        without("id"),
        without("idProperty"),
        without("properties"),
        with("id", json!("pay_0")),
        with("id", json!(1)),
        with("idProperty", json!("payment_invoice")),
        with("properties", json!({ "payment_paid": 1 })),
        with("properties", json!({ "payment_paid": "much" })),
        with("properties", json!({ "payment_status": "Paid" })),
        with("properties", json!({ "no_such": "1" })),
        with("properties", json!({ "createdate": "2026-11-24T10:00:00Z" })),
        with("properties", json!({ "dealname": "no stage" })),
        with("surprise", json!(1)),
        batch(&[by_id]),
    ];
    for body in wrong {
        let reply = post(&hubspot, "batch/upsert", &body);
        assert_eq!(category(&reply), (400, "VALIDATION_ERROR".to_owned()), "{body}");
    }
    assert_eq!(hubspot.state.lock().deals.records().count(), 0);
    assert!(hubspot.site.journal.commits().is_empty());
    assert_eq!(post(&hubspot, "batch/upsert", &batch(&many[..100])).status, 200);
}

#[test]
fn credentials_paths_methods_and_content_types_are_checked() {
    let hubspot = account(Settings::default());
    let body = batch(&[input("pay_1", "paid")]);
    let right = request(Method::POST, &format!("{BASE}/batch/upsert"), &body);
    let with = |change: fn(&mut Request)| {
        let mut wrong = right.clone();
        change(&mut wrong);
        hubspot.handle(&wrong).status.as_u16()
    };
    assert_eq!(with(|call| drop(call.headers.remove("authorization"))), 401);
    assert_eq!(with(|call| drop(call.headers.remove("content-type"))), 415);
    assert_eq!(with(|call| call.method = Method::PUT), 405);
    assert_eq!(with(|call| call.path = "/crm/objects/2025-09/deals/batch/upsert".into()), 404);
    assert_eq!(with(|call| call.path = "/crm/v4/objects/deals/batch/upsert".into()), 404);
    assert_eq!(with(|call| call.path = "/crm/objects/v3/deals/batch/upsert".into()), 404);
    assert_eq!(with(|call| call.path = "/crm/objects/2026-09/deals/upsert".into()), 404);
    assert_eq!(with(|call| call.path = "/crm/objects/2026-09/x/batch/upsert".into()), 400);
    assert!(hubspot.site.journal.commits().is_empty());
    for path in ["/crm/v3/objects/deals", "/crm/objects/2026-03/0-3", BASE] {
        let target = format!("{path}/batch/upsert");
        assert_eq!(hubspot.handle(&request(Method::POST, &target, &body)).status, 200);
    }

    hubspot.revoke_scope("crm.objects.deals.write");
    assert_eq!(category(&hubspot.handle(&right)), (403, "MISSING_SCOPES".to_owned()));
    hubspot.tokens.kill_all();
    assert_eq!(category(&hubspot.handle(&right)), (401, "EXPIRED_AUTHENTICATION".to_owned()));
}

#[test]
fn tokens_are_issued_for_the_right_form_alone() {
    let hubspot = account(Settings::default());
    let ask = |form: &str| {
        let mut call = request(Method::POST, "/oauth/v1/token", &Value::Null);
        call.host = Host::Auth;
        call.body = form.to_owned().into();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        call.headers.insert("content-type", form);
        hubspot.handle(&call)
    };
    let right = format!(
        "grant_type=refresh_token&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}\
         &refresh_token={REFRESH_TOKEN}"
    );
    let issued = ask(&right);
    let body = issued.body_json().expect("JSON");
    assert_eq!((issued.status.as_u16(), &body["expires_in"]), (200, &json!(1_800)));
    for part in ["refresh_token&", CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN] {
        assert_eq!(ask(&right.replacen(part, "x&", 1)).status, 400, "{part}");
    }
}

#[test]
fn limits_hold_within_their_spans_and_tell_no_wait_unless_asked_to() {
    let clock = Clock::standing(jiff::Timestamp::UNIX_EPOCH);
    let settings = Settings {
        clock: clock.clone(),
        calls_per_10_seconds: 3,
        searches_per_second: 1,
        calls_per_day: 5,
        ..Settings::default()
    };
    let hubspot = account(settings);
    let read = |number: usize| {
        let body = json!({ "inputs": [{ "id": number.to_string() }] });
        post(&hubspot, "batch/read", &body)
    };
    let first = read(0);
    let header = |name: &str| first.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("x-hubspot-ratelimit-max"), Some("3"));
    assert_eq!(header("x-hubspot-ratelimit-remaining"), Some("2"));
    assert_eq!(header("x-hubspot-ratelimit-interval-milliseconds"), Some("10000"));
    assert_eq!(header("x-hubspot-ratelimit-daily-remaining"), Some("4"));
    let filter = json!({ "propertyName": "dealname", "operator": "IN", "values": ["a"] });
    let search = json!({ "filterGroups": [{ "filters": [filter] }] });
    assert!(!post(&hubspot, "search", &search).headers.contains_key("x-hubspot-ratelimit-max"));
    let policy = |reply: Reply| {
        assert!(reply.status == 429 && !reply.headers.contains_key("retry-after"));
        reply.body_json().expect("JSON")["policyName"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(policy(post(&hubspot, "search", &search)), "SECONDLY");
    read(1);
    assert_eq!(policy(read(2)), "TEN_SECONDLY_ROLLING");
    clock.advance(ROLLING);
    read(3);
    assert_eq!(policy(read(4)), "DAILY");
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(read(5).status, 404);
}

#[test]
fn a_conflict_or_a_lock_refuses_a_whole_batch_or_names_its_row() {
    for conflicts in [Refusal::Whole, Refusal::Rows] {
        let hubspot = account(Settings { conflicts, ..Settings::default() });
        hubspot.race("pay_1");
        let mut rows = [input("pay_0", "paid"), input("pay_1", "paid")];
        rows[1]["objectWriteTraceId"] = json!("t1");
        let reply = post(&hubspot, "batch/upsert", &batch(&rows));
        let body = reply.body_json().expect("JSON");
        match conflicts {
            Refusal::Whole => {
                assert_eq!(category(&reply), (409, "CONFLICT".to_owned()));
                assert!(hubspot.site.journal.commits().is_empty());
            }
            Refusal::Rows => {
                assert_eq!((reply.status.as_u16(), &body["numErrors"]), (207, &json!(1)));
                let context = &body["errors"][0]["context"];
                assert_eq!(context["objectWriteTraceId"], json!(["t1"]));
                assert_eq!(hubspot.site.journal.commits().len(), 1);
            }
        }
        assert_eq!(post(&hubspot, "batch/upsert", &batch(&rows)).status, 200);
        let id = hubspot.state.lock().deals.id_of("payment_id", &json!("pay_1"));
        hubspot.lock_record(&id.expect("it is there"), Duration::from_secs(60));
        assert_eq!(post(&hubspot, "batch/upsert", &batch(&rows)).status, 423);
    }
}

#[test]
fn searches_take_lower_case_texts_and_are_bounded() {
    let hubspot = account(Settings::default());
    hubspot.create_deal(&[("payment_invoice", "INV-1")]);
    let search = |values: &[&str], limit: u64| {
        let filter =
            json!({ "propertyName": "payment_invoice", "operator": "IN", "values": values });
        let body = json!({ "filterGroups": [{ "filters": [filter] }], "limit": limit });
        post(&hubspot, "search", &body)
    };
    let total = |reply: Reply| reply.body_json().expect("JSON")["total"].clone();
    assert_eq!(total(search(&["inv-1"], 10)), json!(1));
    assert_eq!(total(search(&["INV-1"], 10)), json!(0));
    assert_eq!(search(&["inv-1"], 201).status, 400);
    assert_eq!(search(&["x"; 101], 10).status, 400);
    assert_eq!(search(&["x".repeat(3_000).as_str()], 10).status, 400);
    assert_eq!(search(&[], 10).status, 400);
}
