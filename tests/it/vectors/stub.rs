//! What a provider's API answers in a vector: `stub_api` in call order by path, an access token to whoever
//! asks for one, and PayPal's word on a postback. It notes each call, for what a vector expects the gateway
//! to have asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The API of one vector. Dropped, it stops.
pub struct Stub {
    pub url: String,
    served: Arc<Served>,
    server: JoinHandle<()>,
}

struct Served {
    stub_api: Vec<Value>,
    postback: Value,
    state: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    /// Which of `stub_api` were given.
    given: Vec<usize>,
    calls: Vec<Asking>,
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct Asking {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub body: Vec<u8>,
}

/// What a call is answered.
#[derive(Default)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stub {
    pub async fn start(vector: &Value) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let served = Arc::new(Served {
            stub_api: vector["stub_api"].as_array().cloned().unwrap_or_default(),
            postback: vector["ipn_postback"].clone(),
            state: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(served.clone());
        let server = tokio::spawn(async move {
            // It ends with its test.
            let _ = axum::serve(listener, router).await;
        });
        Stub { url, served, server }
    }

    /// Answers everything once more, as when the same state is asked for again.
    pub fn begin_again(&self) {
        self.served.state.lock().expect("a lock").given.clear();
    }

    pub fn calls(&self) -> Vec<Asking> {
        self.served.state.lock().expect("a lock").calls.clone()
    }

    /// Whether some of `stub_api` was not asked for yet.
    pub fn has_more(&self) -> bool {
        let state = self.served.state.lock().expect("a lock");
        (0..self.served.stub_api.len()).any(|at| !state.given.contains(&at))
    }
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 8 << 20).await.unwrap_or_default();
    let asking = Asking {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        body: body.to_vec(),
    };
    let answer = served.answer(&asking, &parts.headers);
    served.state.lock().expect("a lock").calls.push(asking);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response.headers_mut().extend(answer.headers);
    response
}

impl Served {
    fn answer(&self, asking: &Asking, headers: &HeaderMap) -> Answer {
        let path = path_of(&asking.path);
        let text = String::from_utf8_lossy(&asking.body);
        let fits = |stub: &Value| {
            let stub_path = stub["path"].as_str().unwrap_or_default();
            let contained = stub["request_contains"].as_str();
            stub["method"].as_str().unwrap_or("GET").eq_ignore_ascii_case(&asking.method)
                // A setting for a whole URL leads to the root.
                && (path.is_empty() || path_of(stub_path) == path)
                && contained.is_none_or(|part| text.contains(part))
        };
        let mut state = self.state.lock().expect("a lock");
        let mut fitting = (0..self.stub_api.len()).filter(|at| fits(&self.stub_api[*at]));
        let next = fitting.clone().find(|at| !state.given.contains(at));
        // A list that is asked for more often than it has answers says the last thing again.
        if let Some(at) = next.or_else(|| fitting.next_back()) {
            state.given.push(at);
            return given(&self.stub_api[at], headers);
        }
        if text.starts_with("cmd=_notify-validate") && self.postback.is_object() {
            return self.postback(asking);
        }
        if asking.method == "POST" && (text.contains("grant_type") || path.contains("token")) {
            let granted = r#"{"access_token":"stub","token_type":"Bearer","expires_in":3600}"#;
            return Answer { body: granted.to_owned(), ..Answer::default() };
        }
        let body = r#"{"error":"not_found"}"#.to_owned();
        Answer { status: StatusCode::NOT_FOUND, body, ..Answer::default() }
    }

    fn postback(&self, asking: &Asking) -> Answer {
        let expected = self.postback["expected_body_base64"].as_str().unwrap_or_default();
        match BASE64.decode(expected).is_ok_and(|expected| expected == asking.body) {
            true => Answer {
                status: status_of(&self.postback["response_status"]),
                body: self.postback["response_body"].as_str().unwrap_or_default().to_owned(),
                ..Answer::default()
            },
            false => Answer { body: "INVALID".to_owned(), ..Answer::default() },
        }
    }
}

/// The path of a path with a query, or of a whole URL, however its characters are written.
fn path_of(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    let path = match text.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => text,
    };
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    path.trim_end_matches('/').to_owned()
}

/// The status of a number or its text; 200 where none is told.
fn status_of(told: &Value) -> StatusCode {
    let code = told.as_u64().or_else(|| told.as_str()?.parse().ok()).unwrap_or(200);
    let code = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
    code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer, if the call has the headers that the API wants.
fn given(stub: &Value, headers: &HeaderMap) -> Answer {
    for wanted in stub["required_headers"].as_array().into_iter().flatten() {
        let wanted = wanted.as_str().unwrap_or_default();
        let (name, value) = wanted.split_once(": ").unwrap_or((wanted, ""));
        let has = headers.get(name).and_then(|found| found.to_str().ok());
        if !has.is_some_and(|found| found.contains(value)) {
            let body = format!("header `{wanted}` is missing");
            return Answer { status: StatusCode::BAD_REQUEST, body, ..Answer::default() };
        }
    }
    let body = match (stub["response_text"].as_str(), stub.get("response_json")) {
        (Some(text), _) => text.to_owned(),
        (None, json) => json.map(Value::to_string).unwrap_or_default(),
    };
    let told = ["headers", "response_headers"].map(|name| stub[name].as_object());
    let told = told.into_iter().flatten().flatten().filter_map(|(name, value)| {
        let value = HeaderValue::from_str(value.as_str()?).ok()?;
        Some((HeaderName::try_from(name).ok()?, value))
    });
    // How long a body is and how it is framed is for the server to say.
    let mut headers: HeaderMap = told.collect();
    for name in ["content-length", "transfer-encoding", "connection"] {
        headers.remove(name);
    }
    Answer { status: status_of(&stub["status"]), headers, body }
}
