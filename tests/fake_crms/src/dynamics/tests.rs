//! The double of Dynamics refuses what Dataverse refuses, in its forms.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::json;

use super::sign_in::{CLIENT, SECRET, TENANT};
use super::*;
use crate::Clock;

struct Double {
    backend: Dynamics,
    clock: Clock,
    token: String,
}

impl Double {
    fn new(settings: Settings) -> Double {
        let clock = Clock::standing(Timestamp::from_second(1_800_000_000).expect("a time"));
        let backend = Dynamics::new(&Site::unbound(clock.clone()), settings);
        let token = backend.tokens.issue(CLIENT);
        Double { backend, clock, token }
    }

    fn call(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut all = HeaderMap::new();
        let authorization = format!("Bearer {}", self.token);
        let mut set = |name: &str, value: &str| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            all.insert(name, HeaderValue::from_str(value).expect("a value"));
        };
        set("authorization", &authorization);
        set("odata-version", "4.0");
        set("odata-maxversion", "4.0");
        set("content-type", "application/json");
        headers.iter().for_each(|(name, value)| set(name, value));
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut request = Request::new(method, &format!("{ROOT}{target}"), all, body);
        request.arrived = self.clock.now();
        self.backend.handle(&request)
    }

    fn patch(&self, target: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        self.call("PATCH", target, headers, &body.to_string())
    }

    fn batch(&self, prefer: &str, body: &str) -> Reply {
        let kind = ("content-type", "multipart/mixed; boundary=\"b\"");
        self.call("POST", "$batch", &[kind, ("prefer", prefer)], body)
    }

    fn count(&self) -> usize {
        self.backend.with(PAYMENTS, |entity| entity.table.records().count())
    }
}

fn code(reply: &Reply) -> (u16, String) {
    let body = reply.body_json().unwrap_or_default();
    let code = body["error"]["code"].as_str().unwrap_or_default();
    (reply.status.as_u16(), code.to_owned())
}

fn is(reply: &Reply, status: u16, expected: &str) {
    assert_eq!(code(reply), (status, expected.to_owned()), "{:?}", reply.body);
}

const ONE: &str = "new_payments(new_paymentid='pay_1')";

fn part(id: usize, column: &str) -> String {
    format!(
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: \
         {id}\r\n\r\nPATCH {ROOT}new_payments(new_paymentid='pay_{id}') HTTP/1.1\r\nContent-Type: \
         application/json\r\n\r\n{{\"{column}\":\"x\"}}\r\n"
    )
}

fn parts(columns: &[&str]) -> String {
    let each =
        columns.iter().enumerate().map(|(id, column)| format!("--b\r\n{}", part(id, column)));
    format!("{}--b--\r\n", each.collect::<String>())
}

#[test]
fn tokens_are_given_for_the_right_form_alone() {
    let double = Double::new(Settings::default());
    let ask = |path: &str, kind: &str, form: &[(&str, &str)]| {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_str(kind).expect("a value"));
        let mut request = Request::new(Method::POST, path, headers, Bytes::from(body));
        request.host = Host::Auth;
        let reply = double.backend.handle(&request);
        let body = reply.body_json().unwrap_or_default();
        (reply.status.as_u16(), body["error_codes"][0].as_u64().unwrap_or_default())
    };
    let path = format!("/{TENANT}/oauth2/v2.0/token");
    let scope = format!("{ENVIRONMENT}/.default");
    let form = "application/x-www-form-urlencoded";
    let right = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("scope", scope.as_str()),
        ("client_secret", SECRET),
    ];
    assert_eq!(ask(&path, form, &right), (200, 0));
    assert_eq!(ask("/other/oauth2/v2.0/token", form, &right).0, 400);
    assert_eq!(ask(&path, "application/json", &right).0, 400);
    let mut wrong = right;
    wrong[3].1 = "wrong";
    assert_eq!(ask(&path, form, &wrong), (401, 7_000_215));
    let mut wrong = right;
    wrong[2].1 = "https://acme.api.crm4.dynamics.com/api/data/v9.2/.default";
    assert_eq!(ask(&path, form, &wrong).0, 400);
}

#[test]
fn calls_need_a_token_a_user_and_versions() {
    let double = Double::new(Settings { has_app_user: false, ..Settings::default() });
    is(&double.call("GET", "WhoAmI", &[], ""), 403, "0x80072560");
    let double = Double::new(Settings::default());
    let reply = double.call("GET", "WhoAmI", &[("authorization", "Bearer none")], "");
    assert!(reply.status == 401 && reply.body.is_empty());
    assert!(reply.headers["www-authenticate"].to_str().is_ok_and(|v| v.starts_with("Bearer ")));
    is(&double.call("GET", "WhoAmI", &[("odata-version", "3.0")], ""), 400, "");
    is(&double.call("GET", "WhoAmI", &[], ""), 200, "");
    is(&double.call("GET", "new_payments_wrong", &[], ""), 404, NO_SUCH_SEGMENT);
    is(&double.call("DELETE", ONE, &[], ""), 405, NO_SUCH_SEGMENT);
    is(&double.patch(ONE, &[("content-type", "text/plain")], &json!({})), 415, BAD_PAYLOAD);
    double.clock.advance(Duration::from_secs(3_599));
    assert_eq!(double.call("GET", "WhoAmI", &[], "").status, 401);
}

#[test]
fn an_upsert_tells_itself_only_who_asks() {
    let double = Double::new(Settings::default());
    let body = json!({ "new_reference": "INV" });
    for _ in 0..2 {
        let reply = double.patch(ONE, &[], &body);
        assert!(reply.status == 204 && reply.body.is_empty());
        assert!(reply.headers.contains_key("odata-entityid"));
    }
    let prefer = [("prefer", "return=representation")];
    assert_eq!(double.patch(ONE, &prefer, &body).status, 200);
    let other = "new_payments(new_paymentid='o%27%27neil')?$select=new_paymentid";
    let reply = double.patch(other, &prefer, &body);
    assert_eq!(reply.status, 201);
    assert_eq!(reply.headers["etag"], "W/\"1\"");
    assert_eq!(reply.body_json().expect("JSON")["new_paymentid"], "o'neil");
    // The column of the key is ignored on an update, and wins on a create.
    assert_eq!(double.patch(ONE, &[], &json!({ "new_paymentid": "else" })).status, 204);
    is(&double.call("GET", ONE, &[], ""), 200, "");
    double.patch("new_payments(new_paymentid='url')", &[], &json!({ "new_paymentid": "body" }));
    is(&double.call("GET", "new_payments(new_paymentid='url')", &[], ""), 404, "0x80060891");
    is(&double.call("GET", "new_payments(new_paymentid='body')", &[], ""), 200, "");
}

#[test]
fn conditions_and_columns_are_checked() {
    let double = Double::new(Settings::default());
    let body = json!({ "new_reference": "INV" });
    is(&double.patch(ONE, &[("if-match", "*")], &body), 404, "0x80040217");
    assert_eq!(double.patch(ONE, &[("if-none-match", "*")], &body).status, 204);
    is(&double.patch(ONE, &[("if-none-match", "*")], &body), 412, "");
    is(&double.patch(ONE, &[("if-match", "W/\"9\"")], &body), 412, "0x80060882");
    assert_eq!(double.patch(ONE, &[("if-match", "W/\"1\"")], &body).status, 204);
    is(&double.patch(ONE, &[], &json!({ "New_Reference": "x" })), 400, BAD_PAYLOAD);
    is(&double.patch(ONE, &[], &json!({ "new_paidamount": "1" })), 400, BAD_PAYLOAD);
    is(&double.patch(ONE, &[], &json!({ "new_paidamount_base": 1 })), 400, BAD_PAYLOAD);
    is(&double.patch(ONE, &[], &json!({ "new_status": 5 })), 400, "0x8004431a");
    is(&double.patch(ONE, &[], &json!({ "new_reference": "x".repeat(101) })), 400, "0x80044331");
    double.backend.race("pay_2");
    let two = "new_payments(new_paymentid='pay_2')";
    is(&double.patch(two, &[], &body), 412, "0x80060892");
    assert_eq!(double.patch(two, &[], &body).status, 204);
    is(&double.patch("new_payments(new_paymentid='a%2Fb')", &[], &body), 404, NO_SUCH_SEGMENT);
    is(
        &double.call("POST", "new_payments", &[], r#"{"new_paymentid":"PAY_2"}"#),
        412,
        "0x80060892",
    );
}

#[test]
fn a_batch_stops_at_its_first_failure_unless_it_shall_go_on() {
    let body = parts(&["new_reference", "nope", "new_reference"]);
    let double = Double::new(Settings::default());
    let reply = double.batch("", &body);
    assert_eq!((reply.status.as_u16(), double.count()), (400, 1));
    let double = Double::new(Settings::default());
    let reply = double.batch("odata.continue-on-error", &body);
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!((reply.status.as_u16(), double.count()), (200, 2));
    let lines = text.split("\r\n").filter(|line| line.starts_with("HTTP/1.1"));
    let expected =
        ["HTTP/1.1 204 No Content", "HTTP/1.1 400 Bad Request", "HTTP/1.1 204 No Content"];
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    assert!(text.starts_with("--batchresponse_"));
}

#[test]
fn a_batch_must_be_well_formed_and_no_larger_than_allowed() {
    let double = Double::new(Settings::default());
    let right = parts(&["new_reference"]);
    for wrong in [
        right.replace("\r\n", "\n"),
        right.replace("--b--", ""),
        right.replace("Content-Transfer-Encoding: binary\r\n", ""),
        right.replace(ROOT, "/"),
        String::new(),
    ] {
        is(&double.batch("odata.continue-on-error", &wrong), 400, BAD_PAYLOAD);
    }
    is(
        &double.batch("odata.continue-on-error", &parts(&["new_reference"; 1_001])),
        400,
        BAD_PAYLOAD,
    );
    assert_eq!(double.count(), 0);
    assert_eq!(
        double.batch("odata.continue-on-error", &parts(&["new_reference"; 1_000])).status,
        200
    );
    assert_eq!(double.count(), 1_000);
}

#[test]
fn a_change_set_is_all_or_nothing() {
    let set = |columns: &[&str]| {
        let inner = parts(columns).replace("--b", "--c");
        format!("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{inner}\r\n--b--\r\n")
    };
    let double = Double::new(Settings::default());
    let go_on = "odata.continue-on-error";
    assert_eq!(double.batch(go_on, &set(&["new_reference", "nope"])).status, 200);
    assert_eq!((double.count(), double.backend.site.journal.commits().len()), (0, 0));
    double.batch(go_on, &set(&["new_reference", "new_reference"]));
    assert_eq!((double.count(), double.backend.site.journal.commits().len()), (2, 2));
}

#[test]
fn upsert_multiple_is_all_or_nothing_and_refuses_keys_in_new_rows() {
    let double = Double::new(Settings::default());
    let target = |payment: &str, fields: Value| {
        let mut target = json!({
            "@odata.type": "Microsoft.Dynamics.CRM.new_payment",
            "@odata.id": format!("new_payments(new_paymentid='{payment}')"),
        });
        let all = target.as_object_mut().expect("an object");
        all.extend(fields.as_object().expect("an object").clone());
        target
    };
    let call = |targets: Vec<Value>| {
        let body = json!({ "Targets": targets }).to_string();
        double.call("POST", "new_payments/Microsoft.Dynamics.CRM.UpsertMultiple", &[], &body)
    };
    let right = || target("pay_1", json!({ "new_reference": "a" }));
    let keyed = |payment: &str| target(payment, json!({ "new_paymentid": payment }));
    is(&call(vec![right(), keyed("pay_2")]), 400, "0x80040216");
    is(&call(vec![right(), target("pay_2", json!({ "nope": 1 }))]), 400, BAD_PAYLOAD);
    assert_eq!(double.count(), 0);
    assert_eq!(call(vec![right()]).status, 204);
    assert_eq!(call(vec![keyed("pay_1")]).status, 204);
    assert_eq!(double.count(), 1);
}

#[test]
fn limits_are_kept_and_calls_during_a_wait_extend_it() {
    let settings = Settings { requests_per_window: 3, ..Settings::real() };
    let double = Double::new(settings);
    let reply =
        double.batch("odata.continue-on-error", &parts(&["new_reference", "new_reference"]));
    assert_eq!(reply.headers["x-ms-ratelimit-burst-remaining-xrm-requests"], "1");
    assert!(reply.headers.contains_key("x-ms-ratelimit-time-remaining-xrm-requests"));
    double.clock.advance(Duration::from_secs(100));
    // The third fits; the fourth fails alone.
    let reply =
        double.batch("odata.continue-on-error", &parts(&["new_reference", "new_reference"]));
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(reply.status, 200);
    assert!(text.contains("HTTP/1.1 204") && text.contains("HTTP/1.1 429"), "{text}");
    assert!(text.contains("retry-after: 200") && text.contains("0x80072322"), "{text}");
    let reply = double.call("GET", "WhoAmI", &[], "");
    is(&reply, 429, "0x80072322");
    assert_eq!(reply.headers["retry-after"], "205");
    double.clock.advance(Duration::from_secs(201));
    assert_eq!(double.call("GET", "WhoAmI", &[], "").headers["retry-after"], "9");
    double.clock.advance(Duration::from_secs(9));
    is(&double.call("GET", "WhoAmI", &[], ""), 200, "");
    let execution_per_window = Duration::from_millis(120);
    let double = Double::new(Settings { execution_per_window, ..Settings::real() });
    for _ in 0..2 {
        is(&double.call("GET", "WhoAmI", &[], ""), 200, "");
    }
    is(&double.call("GET", "WhoAmI", &[], ""), 429, "0x80072321");
}

#[tokio::test]
async fn calls_beyond_the_cap_in_flight_are_refused() {
    let server = Dynamics::start(Settings { max_in_flight: 0, ..Settings::real() }).await;
    let token = server.backend().tokens.issue(CLIENT);
    let mut request = Request::new(
        Method::GET,
        &format!("{ROOT}WhoAmI"),
        HeaderMap::from_iter([(
            http::header::AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {token}")).expect("a value"),
        )]),
        Bytes::new(),
    );
    request.arrived = server.clock().now();
    is(&server.backend().handle(&request), 429, "0x80072326");
}

#[test]
fn closed_records_and_plug_ins_refuse() {
    let double = Double::new(Settings::default());
    let body = json!({ "new_reference": "INV" });
    double.backend.veto("pay_1");
    is(&double.patch(ONE, &[], &body), 400, "0x80040265");
    let fields = Fields::from_iter([("new_paymentid".to_owned(), json!("pay_2"))]);
    let id = double.backend.insert(PAYMENTS, &fields);
    double.backend.close(PAYMENTS, &id);
    assert_eq!(double.patch(&format!("new_payments({id})"), &[], &body).status, 400);
}
