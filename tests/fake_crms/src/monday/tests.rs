//! What the double refuses, shown with requests straight to its backend.

use bytes::Bytes;
use http::HeaderMap;

use super::*;

fn double(settings: Settings) -> (Monday, Clock) {
    let clock = Clock::standing("2026-11-24T23:30:00Z".parse().expect("a time"));
    (Monday::new(&Site::unbound(clock.clone()), settings), clock)
}

fn request(clock: &Clock, key: Option<&str>, query: &str, variables: Value) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", TOKEN.parse().expect("a header"));
    headers.insert("content-type", "application/json".parse().expect("a header"));
    if let Some(key) = key {
        headers.insert("idempotency-key", key.parse().expect("a header"));
    }
    let body = json!({ "query": query, "variables": variables }).to_string();
    let mut request = Request::new(Method::POST, "/v2", headers, Bytes::from(body));
    request.arrived = clock.now();
    request
}

fn ask(double: &(Monday, Clock), query: &str, variables: Value) -> (u16, Value) {
    let reply = double.0.handle(&request(&double.1, None, query, variables));
    (reply.status.as_u16(), reply.body_json().expect("JSON"))
}

fn code(body: &Value) -> &str {
    body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}

const CHANGE: &str = "mutation ($b: ID!, $i: ID!, $v: JSON!) { \
    a: change_multiple_column_values(board_id: $b, item_id: $i, column_values: $v, \
    create_labels_if_missing: false) { id } }";

#[test]
fn queries_are_checked_against_the_schema() {
    let double = double(Settings::default());
    for (query, variables, want) in [
        ("query { me { id nickname } }", json!({}), "undefinedField"),
        ("query { me }", json!({}), "selectionMismatch"),
        ("query { me { id }", json!({}), "parseError"),
        ("query ($x: ID) { me { id } }", json!({}), "variableNotUsed"),
        ("query { boards(ids: $x) { id } }", json!({}), "variableNotDefined"),
        ("query { me { id } }", json!({ "x": 1 }), "variableNotDefined"),
        ("query ($x: String) { boards(ids: $x) { id } }", json!({}), "variableMismatch"),
        (
            "query ($x: [ID!]) { boards(ids: $x) { id } }",
            json!({ "x": [true] }),
            "variableMismatch",
        ),
        ("query { boards(name: \"x\") { id } }", json!({}), "argumentNotAccepted"),
        (
            "query { items_page_by_column_values(limit: 2) { cursor } }",
            json!({}),
            "missingRequiredArguments",
        ),
        ("query { me { id } me { name } }", json!({}), "fieldConflict"),
    ] {
        let (status, body) = ask(&double, query, variables);
        assert_eq!((status, code(&body)), (400, want), "{query}");
    }
    let fine = "query ($x: [ID!]) { boards(ids: $x) { ...B } } fragment B on Board { id name }";
    let (status, body) = ask(&double, fine, json!({ "x": [PAYMENTS] }));
    assert_eq!((status, &body["data"]["boards"][0]["name"]), (200, &json!("Payments")));
}

#[test]
fn column_values_are_checked_by_type() {
    let double = double(Settings::default());
    let item = double.0.person_makes(PAYMENTS, "pay_1", json!({ board::PAYMENT_ID: "pay_1" }));
    let status = |label: &str| json!({ board::STATUS: { "label": label } }).to_string();
    for (values, want) in [
        (json!({ board::STATUS: { "label": "Paid" } }), "InvalidArgumentException"),
        (json!("{"), "JsonParseException"),
        (json!("{\"nope\":\"x\"}"), "InvalidColumnIdException"),
        (json!(status("paid")), "ColumnValueException"),
        (json!(format!("{{\"{}\":12.5}}", board::PAID)), "ColumnValueException"),
        (json!(format!("{{\"{}\":\"1e3\"}}", board::PAID)), "ColumnValueException"),
        (json!("{\"email_mkx4payer\":{\"email\":\"a@b\"}}"), "ColumnValueException"),
        (json!("{\"formula_mkx4net\":\"1\"}"), "ColumnValueException"),
        (json!(status("Paid")), ""),
    ] {
        let variables = json!({ "b": PAYMENTS, "i": item, "v": values });
        let (http, body) = ask(&double, CHANGE, variables);
        assert_eq!((http, code(&body)), (200, want), "{values}");
    }
    let fine = json!({ "b": PAYMENTS, "i": item, "v": status("Paid") });
    double.0.set_life(&item, Life::Archived);
    assert_eq!(code(&ask(&double, CHANGE, fine.clone()).1), "InvalidItemIdException");
    double.0.set_life(&item, Life::Live);
    let other = json!({ "b": "1", "i": item, "v": status("Paid") });
    assert_eq!(code(&ask(&double, CHANGE, other).1), "InvalidBoardIdException");
    double.0.may_only_look("");
    let (_, body) = ask(&double, CHANGE, fine);
    assert_eq!(code(&body), "UserUnauthorizedException");
    assert_eq!(body["errors"][0]["extensions"]["status_code"], 403);
}

#[test]
fn an_alias_that_fails_leaves_the_others_and_a_lookup_takes_all() {
    let double = double(Settings::default());
    let item = double.0.person_makes(PAYMENTS, "pay_1", json!({ board::PAYMENT_ID: "pay_1" }));
    let both = "mutation ($i: ID!, $v: JSON!) { \
        a: change_multiple_column_values(board_id: 1876543210, item_id: 1, column_values: $v) { id } \
        b: change_multiple_column_values(board_id: 1876543210, item_id: $i, column_values: $v) { id } }";
    let values = json!({ board::REFERENCE: "R-1" }).to_string();
    let (_, body) = ask(&double, both, json!({ "i": item, "v": values }));
    assert_eq!((&body["data"]["a"], &body["data"]["b"]["id"]), (&Value::Null, &json!(item)));
    assert_eq!(body["errors"][0]["path"], json!(["a"]));

    let lookups = "query ($a: [ItemsPageByColumnValuesQuery!], $b: [ItemsPageByColumnValuesQuery!]) { \
        a: items_page_by_column_values(board_id: 1876543210, columns: $a) { items { id } } \
        b: items_page_by_column_values(board_id: 1876543210, columns: $b) { items { id } } }";
    let one = |column: &str| json!([{ "column_id": column, "column_values": ["pay_1"] }]);
    let variables = json!({ "a": one("nope"), "b": one(board::PAYMENT_ID) });
    let (_, body) = ask(&double, lookups, variables);
    assert_eq!((&body["data"], code(&body)), (&Value::Null, "InvalidColumnIdException"));
    let variables = json!({ "a": one(board::REFERENCE), "b": one(board::PAYMENT_ID) });
    let (_, body) = ask(&double, lookups, variables);
    assert_eq!(body["data"]["b"]["items"], json!([{ "id": item }]));
}

#[test]
fn limits_are_told_in_every_form() {
    let tight = Settings { points_per_minute: 1_100, ..Settings::default() };
    let double_ = double(tight.clone());
    let me = "query { me { id } complexity { query before after reset_in_x_seconds } }";
    let (_, body) = ask(&double_, me, json!({}));
    let told = json!({ "query": 1_011, "before": 1_100, "after": 89, "reset_in_x_seconds": 60 });
    assert_eq!(body["data"]["complexity"], told);
    let reply = double_.0.handle(&request(&double_.1, None, me, json!({})));
    assert_eq!(reply.status, 429);
    assert_eq!(reply.retry_after(), Some(Duration::from_secs(60)));
    let body = reply.body_json().expect("JSON");
    assert_eq!(code(&body), "COMPLEXITY_BUDGET_EXHAUSTED");
    assert_eq!(body["errors"][0]["extensions"]["retry_in_seconds"], 60);
    double_.1.advance(Duration::from_secs(60));
    assert_eq!(ask(&double_, me, json!({})).0, 200);

    double_.0.set(|settings| {
        (settings.refuses_with_200, settings.refuses_flat) = (true, true);
        settings.points_per_minute = 1;
    });
    let (status, body) = ask(&double_, me, json!({}));
    assert_eq!((status, &body["error_code"]), (200, &json!("ComplexityException")));

    let daily = double(Settings { calls_per_day: 1, ..Settings::default() });
    assert_eq!(ask(&daily, me, json!({})).0, 200);
    let (status, body) = ask(&daily, me, json!({}));
    assert_eq!((status, code(&body)), (429, "DAILY_LIMIT_EXCEEDED"));
    daily.1.advance(Duration::from_secs(30 * 60));
    assert_eq!(ask(&daily, me, json!({})).0, 200);

    let dear = Prices { lookup: 5_000_001, ..Prices::default() };
    let dear = double(Settings { prices: dear, ..Settings::default() });
    assert_eq!(ask(&dear, me, json!({})).0, 400);
}

#[test]
fn a_key_gives_the_same_answer_for_half_an_hour() {
    let (double, clock) = double(Settings::default());
    let create =
        "mutation ($n: String!) { create_item(board_id: 1876543210, item_name: $n) { id } }";
    let send =
        |key, name: &str| double.handle(&request(&clock, Some(key), create, json!({ "n": name })));
    let first = send("k1", "one");
    let again = send("k1", "one");
    assert_eq!(first.body, again.body);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(send("k1", "two").status, 400);
    assert_ne!(send("k2", "one").body, first.body);
    clock.advance(Duration::from_secs(30 * 60));
    assert_ne!(send("k1", "one").body, first.body);
}

#[test]
fn only_the_route_the_token_and_json_are_let_in() {
    let (double, clock) = double(Settings::default());
    let good = || request(&clock, None, "query { me { id } }", json!({}));
    let status = |change: &dyn Fn(&mut Request)| {
        let mut request = good();
        change(&mut request);
        double.handle(&request).status.as_u16()
    };
    assert_eq!(status(&|_| {}), 200);
    assert_eq!(status(&|request| request.path = "/v3".to_owned()), 404);
    assert_eq!(status(&|request| request.method = Method::GET), 405);
    let bearer = format!("Bearer {TOKEN}");
    let put = |request: &mut Request, name: &'static str, value: &str| {
        request.headers.insert(name, value.parse().expect("a header"));
    };
    assert_eq!(status(&|request| put(request, "authorization", &bearer)), 401);
    assert_eq!(status(&|request| put(request, "content-type", "text/plain")), 400);
    assert_eq!(status(&|request| request.body = Bytes::from_static(b"{}")), 400);
}

/// Answers a webhook: echoes a challenge, and takes an event at the third try.
struct Receiver(State<Vec<Request>>);

impl Backend for Receiver {
    fn handle(&self, request: &Request) -> Reply {
        let body = request.json().expect("JSON");
        if body.get("challenge").is_some() {
            return Reply::json(200, &body);
        }
        let mut events = self.0.lock();
        events.push(request.clone());
        Reply::empty(if events.len() < 3 { 500 } else { 200 })
    }
}

#[tokio::test]
async fn a_webhook_is_challenged_signed_and_tried_each_minute() {
    let clock = Clock::standing("2026-11-24T23:30:00Z".parse().expect("a time"));
    let make = |_: &Site| Receiver(State::default());
    let receiver = Server::start(clock.clone(), make).await.expect("two ports");
    let url = format!("{}/hook", receiver.api_url());
    let webhook = webhook::Webhook::subscribe(&url, "signing", clock.clone()).await;
    let event = json!({ "type": "update_column_value", "boardId": 1_876_543_210_u64 });
    let tries = webhook.expect("the challenge was echoed").send(event).await;
    assert_eq!(tries, Some(3));
    assert_eq!(clock.now().to_string(), "2026-11-24T23:32:00Z");
    let events = receiver.backend().0.lock();
    let retried = |at: usize| events[at].json().expect("JSON")["event"]["isRetry"].clone();
    assert_eq!((retried(0), retried(2)), (json!(false), json!(true)));
    let token = events[0].header("authorization").expect("a token");
    assert_eq!(token.split('.').count(), 3);
    let wrong = format!("{}/hook", receiver.auth_url().replace("127.0.0.1", "192.0.2.1"));
    assert!(webhook::Webhook::subscribe(&wrong, "signing", clock.clone()).await.is_err());
}
