//! What a provider's API answers in a vector: `stub_api` in call order by path, an access token to whoever
//! asks for one, and PayPal's word on a postback. It notes each call, for what a vector expects the gateway
//! to have asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
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
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 8 << 20).await.unwrap_or_default();
    let asking = Asking {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        body: body.to_vec(),
    };
    let (status, text) = served.answer(&asking, &parts.headers);
    let mut state = served.state.lock().expect("a lock");
    state.calls.push(asking);
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(text)).expect("a response")
}

impl Served {
    fn answer(&self, asking: &Asking, headers: &HeaderMap) -> (u16, String) {
        let path = asking.path.split('?').next().unwrap_or_default();
        let text = String::from_utf8_lossy(&asking.body);
        let fits = |stub: &Value| {
            let stub_path = stub["path"].as_str().unwrap_or_default();
            let contained = stub["request_contains"].as_str();
            stub["method"].as_str().unwrap_or("GET") == asking.method
                // A setting for a whole URL leads to the root.
                && (path == "/" || stub_path.split('?').next() == Some(path))
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
            return (200, granted.to_owned());
        }
        (404, r#"{"error":"not_found"}"#.to_owned())
    }

    fn postback(&self, asking: &Asking) -> (u16, String) {
        let expected = self.postback["expected_body_base64"].as_str().unwrap_or_default();
        let status = &self.postback["response_status"];
        let status = status.as_u64().or_else(|| status.as_str()?.parse().ok());
        match BASE64.decode(expected).is_ok_and(|expected| expected == asking.body) {
            true => (
                u16::try_from(status.unwrap_or(200)).expect("a status"),
                self.postback["response_body"].as_str().unwrap_or_default().to_owned(),
            ),
            false => (200, "INVALID".to_owned()),
        }
    }
}

/// The answer, if the call has the headers that the API wants.
fn given(stub: &Value, headers: &HeaderMap) -> (u16, String) {
    for wanted in stub["required_headers"].as_array().into_iter().flatten() {
        let wanted = wanted.as_str().unwrap_or_default();
        let (name, value) = wanted.split_once(": ").unwrap_or((wanted, ""));
        let has = headers.get(name).and_then(|found| found.to_str().ok());
        if !has.is_some_and(|found| found.contains(value)) {
            return (400, format!("header `{wanted}` is missing"));
        }
    }
    let status = stub["status"].as_u64().unwrap_or(200);
    let body = match stub["response_text"].as_str() {
        Some(text) => text.to_owned(),
        None => stub["response_json"].to_string(),
    };
    (u16::try_from(status).expect("a status"), body)
}
