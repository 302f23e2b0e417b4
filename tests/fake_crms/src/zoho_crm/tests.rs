//! How strict the org is, call by call.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::*;

struct Org {
    zoho: ZohoCrm,
    token: String,
    clock: Clock,
}

fn org(settings: Settings) -> Org {
    let clock = Clock::standing("2026-11-24T10:00:00Z".parse().expect("a time"));
    let site = Site::unbound(clock.clone());
    let zoho = ZohoCrm::new(&site, Settings { clock: clock.clone(), ..settings });
    zoho.tokens.insert("1000.a.b", ORG);
    Org { zoho, token: "Zoho-oauthtoken 1000.a.b".to_owned(), clock }
}

impl Org {
    fn request(&self, method: &str, target: &str, body: &Value) -> Request {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&self.token).expect("a header");
        headers.insert("authorization", value);
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let method = method.parse().expect("a method");
        let mut request = Request::new(method, target, headers, Bytes::from(body.to_string()));
        request.arrived = self.clock.now();
        request
    }

    fn call(&self, method: &str, target: &str, body: Value) -> (u16, Value) {
        let reply = self.zoho.handle(&self.request(method, target, &body));
        (reply.status.as_u16(), reply.body_json().unwrap_or_default())
    }

    fn sign_in(&self, form: &str) -> (u16, Value) {
        let mut headers = HeaderMap::new();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert("content-type", form_type);
        let body = Bytes::from(form.to_owned());
        let mut request = Request::new(Method::POST, "/oauth/v2/token", headers, body);
        (request.host, request.arrived) = (Host::Auth, self.clock.now());
        let reply = self.zoho.handle(&request);
        (reply.status.as_u16(), reply.body_json().unwrap_or_default())
    }
}

fn row(payment: &str) -> Value {
    json!({ "Deal_Name": "d", "Stage": "Qualification", "Payment_Id": payment })
}

fn upsert(rows: Vec<Value>) -> Value {
    json!({ "data": rows, "duplicate_check_fields": ["Payment_Id"], "trigger": [] })
}

const UPSERT: &str = "/crm/v8/Deals/upsert";

#[test]
fn errors_of_tokens_come_with_status_200_and_the_eleventh_refresh_with_400() {
    let org = org(Settings::default());
    let form = |secret: &str, refresh: &str| {
        format!(
            "grant_type=refresh_token&client_id={CLIENT_ID}&client_secret={secret}\
             &refresh_token={refresh}"
        )
    };
    let wrong = org.sign_in(&form("no", REFRESH_TOKEN));
    assert_eq!(wrong, (200, json!({ "error": "invalid_client" })));
    let wrong = org.sign_in(&form(CLIENT_SECRET, "no"));
    assert_eq!(wrong, (200, json!({ "error": "invalid_code" })));
    for _ in 0..10 {
        let (status, token) = org.sign_in(&form(CLIENT_SECRET, REFRESH_TOKEN));
        assert_eq!((status, &token["expires_in"]), (200, &json!(3_600)));
        assert_eq!(token["api_domain"], json!("http://127.0.0.1:2"));
    }
    let (status, refused) = org.sign_in(&form(CLIENT_SECRET, REFRESH_TOKEN));
    assert_eq!((status, &refused["error"]), (400, &json!("Access Denied")));
    org.clock.advance(Duration::from_secs(600));
    assert_eq!(org.sign_in(&form(CLIENT_SECRET, REFRESH_TOKEN)).0, 200);
}

#[test]
fn a_token_is_taken_in_zohos_own_scheme_alone() {
    let mut org = org(Settings::default());
    let target = "/crm/v8/settings/fields?module=Deals";
    assert_eq!(org.call("GET", target, json!(null)).0, 200);
    for wrong in ["Bearer 1000.a.b", "zoho-oauthtoken 1000.a.b", "Zoho-oauthtoken other"] {
        org.token = wrong.to_owned();
        let (status, body) = org.call("GET", target, json!(null));
        assert_eq!((status, &body["status"]), (401, &json!("error")), "{wrong}");
    }
}

#[test]
fn a_call_that_is_not_as_it_must_be_is_refused_whole() {
    let org = org(Settings::default());
    let many = upsert((0..101).map(|n| row(&n.to_string())).collect());
    let by_name = json!({ "data": [row("p")], "duplicate_check_fields": ["Deal_Name"] });
    let cases = [
        ("POST", "/crm/v8/Nothing/upsert", upsert(vec![row("p")]), 400, "INVALID_MODULE"),
        ("POST", UPSERT, many, 400, "INVALID_DATA"),
        ("POST", UPSERT, by_name, 400, "INVALID_DATA"),
        ("POST", UPSERT, json!({ "data": [row("p")], "triggers": [] }), 400, "INVALID_DATA"),
        ("PUT", UPSERT, upsert(vec![row("p")]), 405, "INVALID_REQUEST_METHOD"),
        ("POST", "/crm/v8/Deals/x/y", json!({}), 404, "INVALID_URL_PATTERN"),
        ("POST", "/crm/v8/coql", json!({ "select_query": "select" }), 400, "SYNTAX_ERROR"),
    ];
    for (method, target, body, status, code) in cases {
        let answer = org.call(method, target, body);
        assert_eq!((answer.0, &answer.1["code"]), (status, &json!(code)), "{target}");
        assert!(answer.1.get("data").is_none());
    }
    assert!(org.zoho.site.journal.commits().is_empty());
}

#[test]
fn each_row_has_an_outcome_in_its_place_and_the_status_tells_of_all() {
    let org = org(Settings::default());
    let (status, body) = org.call("POST", UPSERT, upsert(vec![row("p1"), row("p2")]));
    assert_eq!((status, &body["data"][1]["action"]), (201, &json!("insert")));
    let id = body["data"][0]["details"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(id.len(), 19);
    let bad = json!({ "Payment_Id": "p1", "Amount_Paid": "much" });
    let short = json!({ "Payment_Id": "p3", "Stage": "Qualification" });
    let good = json!({ "Payment_Id": "P2", "Amount_Paid": 1.5, "Nothing": 1 });
    let (status, body) = org.call("POST", UPSERT, upsert(vec![bad.clone(), short, good]));
    let codes: Vec<&Value> =
        body["data"].as_array().expect("rows").iter().map(|r| &r["code"]).collect();
    assert_eq!(status, 207);
    assert_eq!(codes, ["INVALID_DATA", "MANDATORY_NOT_FOUND", "SUCCESS"]);
    assert_eq!(body["data"][0]["details"]["json_path"], json!("$.data[0].Amount_Paid"));
    assert_eq!(body["data"][2]["duplicate_field"], json!("Payment_Id"));
    assert_eq!(org.call("POST", UPSERT, upsert(vec![bad])).0, 400);
    let numeric =
        json!({ "data": [{ "id": id.parse::<u64>().expect("digits"), "Stage": "Closed Won" }] });
    assert_eq!(org.call("PUT", "/crm/v8/Deals", numeric).0, 400);
    let text = json!({ "data": [{ "id": id, "Stage": "Closed Won" }] });
    assert_eq!(org.call("PUT", "/crm/v8/Deals", text).0, 200);
}

#[test]
fn an_update_of_what_changed_since_is_refused_with_412() {
    let org = org(Settings::default());
    let (_, body) = org.call("POST", UPSERT, upsert(vec![row("p1")]));
    let id = &body["data"][0]["details"]["id"];
    let body = json!({ "data": [{ "id": id, "Stage": "Closed Won" }] });
    let mut request = org.request("PUT", "/crm/v8/Deals", &body);
    let since = HeaderValue::from_static("2026-11-24T10:59:59+01:00");
    request.headers.insert("if-unmodified-since", since);
    let reply = org.zoho.handle(&request);
    let told = reply.body_json().expect("JSON");
    assert_eq!(reply.status, 412);
    assert_eq!(told["data"][0]["code"], json!("ALREADY_MODIFIED"));
}

#[test]
fn credits_are_counted_down_once_half_are_used_and_no_wait_is_told() {
    let org = org(Settings { credits_per_day: 20, ..Settings::default() });
    let rows = |from: u32| upsert((from..from + 90).map(|n| row(&n.to_string())).collect());
    let header = |reply: &Reply| reply.headers.get("x-api-credits-remaining").cloned();
    let first = org.zoho.handle(&org.request("POST", UPSERT, &rows(0)));
    assert_eq!(header(&first), None);
    let second = org.zoho.handle(&org.request("POST", UPSERT, &rows(100)));
    assert_eq!(header(&second), Some(HeaderValue::from_static("2")));
    let third = org.zoho.handle(&org.request("POST", UPSERT, &rows(200)));
    assert_eq!(third.status, 429);
    assert_eq!(third.body_json().expect("JSON")["code"], json!("TOO_MANY_REQUESTS"));
    assert!(third.retry_after().is_none());
    org.clock.advance(DAY);
    org.zoho.tokens.insert("1000.a.b", ORG);
    assert_eq!(org.zoho.handle(&org.request("POST", UPSERT, &rows(200))).status, 201);
}

#[test]
fn a_channel_lasts_what_it_may_and_then_falls_silent() {
    let org = org(Settings::default());
    let watch = |expiry: Value| {
        json!({ "watch": [{
            "channel_id": "1000000068001", "events": ["Deals.all"], "token": "t",
            "notify_url": "http://127.0.0.1:9/?k=v", "channel_expiry": expiry,
        }] })
    };
    let expiry = |asked: &str| {
        let (status, body) = org.call("POST", "/crm/v8/actions/watch", watch(json!(asked)));
        (status, body["watch"][0]["details"]["events"][0]["channel_expiry"].clone())
    };
    let hour = json!("2026-11-24T11:00:00+00:00");
    assert_eq!(expiry("2026-12-24T10:00:00+00:00"), (200, hour));
    assert_eq!(expiry("2026-11-25T10:00:00.000+00:00").0, 400);
    let day = json!("2026-11-25T10:00:00+00:00");
    assert_eq!(expiry("2026-11-25T10:00:00+00:00"), (200, day));
    org.call("POST", UPSERT, upsert(vec![row("p1")]));
    assert_eq!(org.zoho.watches.waiting(), 1);
    org.clock.advance(DAY);
    org.call("POST", UPSERT, upsert(vec![row("p2")]));
    assert_eq!(org.zoho.watches.waiting(), 1);
}
