//! The double alone, in what no connector of ours sends: the strictness that a right request never meets.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::*;

const COLLECTION: &str = "/services/data/v66.0/composite/sobjects/Opportunity/Payment_Id__c";

struct Org {
    backend: Salesforce,
    token: String,
}

impl Org {
    fn new(settings: Settings) -> Org {
        let backend = Salesforce::new(&Site::unbound(Clock::real()), settings);
        let token = backend.tokens.issue(ORG_ID);
        Org { backend, token }
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> Reply {
        let mut all = HeaderMap::new();
        let bearer = format!("Bearer {}", self.token);
        all.insert("authorization", bearer.parse().expect("a header"));
        all.insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            all.insert(*name, value.parse().expect("a header"));
        }
        let request = Request::new(method, path, all, Bytes::from(body.to_string()));
        self.backend.handle(&request)
    }

    fn upsert(&self, body: &Value) -> Reply {
        self.send(Method::PATCH, COLLECTION, &[], body)
    }
}

fn row(id: &str) -> Value {
    json!({
        "attributes": { "type": "Opportunity" }, "Payment_Id__c": id, "Name": "n",
        "StageName": "Prospecting", "CloseDate": "2026-12-31",
    })
}

fn code(reply: &Reply) -> (u16, String) {
    let body = reply.body_json().expect("json");
    (reply.status.as_u16(), body[0]["errorCode"].as_str().unwrap_or_default().to_owned())
}

fn row_code(reply: &Reply, row: usize) -> String {
    let body = reply.body_json().expect("json");
    assert!(body[row].get("id").is_none() || body[row]["success"] == true, "{body}");
    body[row]["errors"][0]["statusCode"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_is_no_collection_is_refused_whole() {
    let org = Org::new(Settings::default());
    let many: Vec<Value> = (0..201).map(|n| row(&n.to_string())).collect();
    let mut untyped = row("1");
    untyped["attributes"] = json!({});
    let mut other = row("1");
    other["attributes"] = json!({ "type": "Contact" });
    let mut text = row("1");
    text["Paid_Amount__c"] = json!("12");
    let mut unknown = row("1");
    unknown["Nope__c"] = json!(1);
    for (body, expected) in [
        (json!([]), "JSON_PARSER_ERROR"),
        (json!({ "records": [row("1")], "extra": 1 }), "JSON_PARSER_ERROR"),
        (json!({ "records": [] }), "INVALID_INPUT"),
        (json!({ "records": many }), "LIMIT_EXCEEDED"),
        (json!({ "records": [row("2"), untyped] }), "INVALID_INPUT"),
        (json!({ "records": [row("2"), other] }), "INVALID_TYPE"),
        (json!({ "records": [row("2"), text] }), "JSON_PARSER_ERROR"),
        (json!({ "records": [row("2"), unknown] }), "INVALID_FIELD"),
    ] {
        assert_eq!(code(&org.upsert(&body)), (400, expected.to_owned()), "{body}");
    }
    assert!(org.backend.site.journal.commits().is_empty());
    let path = COLLECTION.replace("Payment_Id__c", "Name");
    let body = json!({ "records": [row("1")] });
    let told = code(&org.send(Method::PATCH, &path, &[], &body));
    assert_eq!(told, (404, "NOT_FOUND".to_owned()));
    let told = code(&org.send(Method::PUT, COLLECTION, &[], &body));
    assert_eq!(told, (405, "METHOD_NOT_ALLOWED".to_owned()));
    let told = org.send(Method::PATCH, COLLECTION, &[("content-type", "text/plain")], &body);
    assert_eq!(told.status, 415);
    let told = org.send(Method::PATCH, COLLECTION, &[("authorization", "Bearer no")], &body);
    assert_eq!(code(&told), (401, "INVALID_SESSION_ID".to_owned()));
    assert!(told.headers.contains_key("sforce-limit-info"));
}

#[test]
fn rows_are_refused_alone_or_all_together() {
    let org = Org::new(Settings { unknown_field: UnknownField::Row, ..Settings::default() });
    let with = |name: &str, value: Value| {
        let mut row = row("bad");
        row[name] = value;
        row
    };
    let mut bare = row("bare");
    bare.as_object_mut().expect("an object").remove("Name");
    for (bad, expected) in [
        (with("Nope__c", json!(1)), "INVALID_FIELD"),
        (with("Id", json!("0065g0000000001AAA")), "INVALID_FIELD_FOR_INSERT_UPDATE"),
        (with("Payment_Status__c", json!("paid")), "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        (with("Payment_Currency__c", json!("EURO")), "STRING_TOO_LONG"),
        (
            with("LastModifiedDate", json!("2026-01-01T00:00:00Z")),
            "INVALID_FIELD_FOR_INSERT_UPDATE",
        ),
        (with("Payment_Id__c", json!("")), "MISSING_ARGUMENT"),
        (bare, "REQUIRED_FIELD_MISSING"),
    ] {
        let told = org.upsert(&json!({ "allOrNone": false, "records": [row("1"), bad] }));
        assert_eq!((told.status.as_u16(), row_code(&told, 0)), (200, String::new()));
        assert_eq!(row_code(&told, 1), expected);
        let together = json!({ "allOrNone": true, "records": [row("together"), bad] });
        let told = org.upsert(&together);
        assert_eq!(row_code(&told, 0), "ALL_OR_NONE_OPERATION_ROLLED_BACK");
    }
    let doubled = org.upsert(&json!({ "records": [row("a"), row("A"), row("b")] }));
    assert_eq!(row_code(&doubled, 0), "DUPLICATE_VALUE");
    assert_eq!(row_code(&doubled, 1), "DUPLICATE_VALUE");
    assert!(org.backend.site.journal.commits_of("together").is_empty());
    assert!(org.backend.site.journal.commits_of("a").is_empty());
}

#[test]
fn a_single_record_is_created_updated_and_not_when_it_changed_or_is_two() {
    let org = Org::new(Settings::default());
    let path = "/services/data/v66.0/sobjects/Opportunity/Payment_Id__c/p%2F1";
    let fields = json!({ "Name": "n", "StageName": "Prospecting", "CloseDate": "2026-12-31" });
    assert_eq!(org.send(Method::PATCH, path, &[], &fields).status, 201);
    assert_eq!(org.send(Method::PATCH, path, &[], &fields).status, 200);
    let since = [("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT")];
    assert_eq!(org.send(Method::PATCH, path, &since, &fields).status, 412);
    let repeated = json!({ "Payment_Id__c": "p/1" });
    assert_eq!(code(&org.send(Method::PATCH, path, &[], &repeated)).0, 400);
    for _ in 0..2 {
        let mut fields = fields.as_object().cloned().expect("an object");
        fields.insert("Legacy_Id__c".to_owned(), json!("L1"));
        org.backend.insert("Opportunity", &fields).expect("made");
    }
    let path = "/services/data/v66.0/sobjects/Opportunity/Legacy_Id__c/L1";
    let told = org.send(Method::PATCH, path, &[], &fields);
    assert_eq!(told.status, 300);
    assert_eq!(told.body_json().expect("json").as_array().map(Vec::len), Some(2));
}

#[test]
fn quotas_maintenance_and_long_urls_are_told() {
    let org = Org::new(Settings { daily_calls: 2, ..Settings::default() });
    let query = |soql: &str| {
        let soql: String = form_urlencoded::byte_serialize(soql.as_bytes()).collect();
        let path = format!("/services/data/v66.0/query?q={soql}");
        org.send(Method::GET, &path, &[], &json!({}))
    };
    let long = format!("SELECT Id FROM Opportunity WHERE Name = '{}'", "x".repeat(16_400));
    assert_eq!(query(&long).status, 414);
    assert_eq!(query("SELECT Id FROM Opportunity").status, 200);
    let over = query("SELECT Id FROM Opportunity");
    assert_eq!(code(&over), (403, "REQUEST_LIMIT_EXCEEDED".to_owned()));
    assert_eq!(over.headers["sforce-limit-info"], "api-usage=2/2");
    assert!(over.retry_after().is_none());
    org.backend.maintain(true);
    assert_eq!(code(&query("SELECT Id FROM Opportunity")), (503, "SERVER_UNAVAILABLE".to_owned()));
}

#[test]
fn queries_are_read_as_strictly_as_soql() {
    let org = Org::new(Settings::default());
    let mut fields = Fields::new();
    for (name, value) in [
        ("Name", json!("n")),
        ("StageName", json!("Prospecting")),
        ("CloseDate", json!("2026-12-31")),
        ("Payment_Id__c", json!("it's \\ \"1\"")),
        ("Legacy_Number__c", json!(7)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    let id = org.backend.insert("Opportunity", &fields).expect("made");
    let short = &id[..15];
    for (soql, expected) in [
        (r#"SELECT Id FROM Opportunity WHERE payment_id__c = 'IT\'S \\ \"1\"'"#, "1"),
        ("SELECT Id FROM Opportunity WHERE Legacy_Number__c IN (7.0, 8)", "1"),
        (&format!("SELECT Id FROM Opportunity WHERE Id = '{short}'"), "1"),
        ("SELECT Id FROM Opportunity WHERE Payment_Id__c = 'it's'", "MALFORMED_QUERY"),
        ("SELECT Id, id FROM Opportunity", "MALFORMED_QUERY"),
        ("SELECT Id FROM Opportunity WHERE Legacy_Number__c = '7'", "INVALID_FIELD"),
        ("SELECT Id FROM Opportunity WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Nope FROM Opportunity", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT Id FROM Opportunity WHERE Id = 'pay_1'", "INVALID_QUERY_FILTER_OPERATOR"),
    ] {
        let encoded: String = form_urlencoded::byte_serialize(soql.as_bytes()).collect();
        let path = format!("/services/data/v66.0/query?q={encoded}");
        let told = org.send(Method::GET, &path, &[], &json!({}));
        let body = told.body_json().expect("json");
        let got = match body.get("totalSize") {
            Some(size) => size.to_string(),
            None => code(&told).1,
        };
        assert_eq!(got, expected, "{soql}: {body}");
    }
}

#[test]
fn only_long_calls_count_among_those_at_once() {
    let org = Org::new(Settings::default());
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", org.token);
    headers.insert("authorization", bearer.parse().expect("a header"));
    let path = "/services/data/v66.0";
    let mut request = Request::new(Method::GET, path, headers, Bytes::new());
    request.arrived = Clock::real().now();
    for (seconds, expected) in [(19, 200), (20, 403)] {
        let began = request.arrived - jiff::SignedDuration::from_secs(seconds);
        request.others = vec![began; 25];
        assert_eq!(org.backend.handle(&request).status, expected);
    }
}

#[test]
fn an_assertion_is_held_to_its_signature_and_its_end() {
    let org = Org::new(Settings::default());
    let ask = |assertion: &str| {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        form.append_pair("assertion", assertion);
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert("content-type", kind);
        let path = "/services/oauth2/token";
        let mut request = Request::new(Method::POST, path, headers, Bytes::from(form.finish()));
        request.host = Host::Auth;
        let told = org.backend.handle(&request);
        let body = told.body_json().expect("json");
        body["error_description"].as_str().unwrap_or("granted").to_owned()
    };
    let now = jiff::Timestamp::now().as_second();
    let claims = |ends: i64, audience: &str, user: &str| json!({ "iss": CLIENT_ID, "sub": user, "aud": audience, "exp": now + ends });
    let prod = "https://login.salesforce.com";
    let right = login::signed(&claims(180, prod, USERNAME));
    assert_eq!(ask(&right), "granted");
    assert_eq!(ask(&format!("{}AA", &right[..right.len() - 2])), "invalid assertion");
    for (ends, audience, user, told) in [
        (301, prod, USERNAME, "expired authorization code"),
        (0, prod, USERNAME, "expired authorization code"),
        (180, "https://evil.example", USERNAME, "audience is invalid"),
        (180, prod, "other@acme.example", "user hasn't approved this consumer"),
    ] {
        assert_eq!(ask(&login::signed(&claims(ends, audience, user))), told);
    }
}
