//! A provider's API on this machine: answers what the test queued for a path, and notes each call. An
//! answer may be held, cut off, slow, huge or lead elsewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    state: Arc<Mutex<Served>>,
    seen: watch::Sender<usize>,
}

#[derive(Default)]
struct Served {
    /// By path; the last one stays.
    answers: HashMap<String, VecDeque<Answer>>,
    calls: Vec<Seen>,
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method, path and query: `GET /payments/p1`.
    pub line: String,
    pub authorization: String,
    pub body: String,
}

/// What is answered.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The answer waits until this is true.
    held: Option<watch::Receiver<bool>>,
    /// The body ends before it should.
    is_cut: bool,
}

impl Answer {
    pub fn json(body: serde_json::Value) -> Answer {
        Answer::status(200).body(body.to_string())
    }

    pub fn status(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new(), held: None, is_cut: false }
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    pub fn cut(mut self) -> Answer {
        self.is_cut = true;
        self
    }

    /// Waits until the sender says true.
    pub fn held(mut self) -> (Answer, watch::Sender<bool>) {
        let (release, held) = watch::channel(false);
        self.held = Some(held);
        (self, release)
    }
}

impl Api {
    pub async fn start() -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let api = Api { url, state: Arc::default(), seen: watch::Sender::new(0) };
        let router = Router::new().fallback(answer).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    /// From now on, this is what the path answers.
    pub fn set(&self, path: &str, answer: Answer) {
        self.queue(path, vec![answer]);
    }

    /// These in turn; the last one stays.
    pub fn queue(&self, path: &str, answers: Vec<Answer>) {
        self.state.lock().expect("a lock").answers.insert(path.to_owned(), answers.into());
    }

    /// All calls whose first line begins so.
    pub fn calls(&self, line: &str) -> Vec<Seen> {
        let state = self.state.lock().expect("a lock");
        state.calls.iter().filter(|call| call.line.starts_with(line)).cloned().collect()
    }

    /// Waits until so many such calls came.
    pub async fn called(&self, line: &str, times: usize) {
        let mut seen = self.seen.subscribe();
        let came = seen.wait_for(|_| self.calls(line).len() >= times);
        let came = tokio::time::timeout(PATIENCE, came).await;
        assert!(came.is_ok(), "{line}: {} calls, not {times}", self.calls(line).len());
    }
}

async fn answer(State(api): State<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let line = format!("{} {}", parts.method, parts.uri);
    let authorization = parts.headers.get("authorization");
    let authorization = authorization.map(|value| value.to_str().unwrap_or_default().to_owned());
    let answer = {
        let mut state = api.state.lock().expect("a lock");
        state.calls.push(Seen {
            line,
            authorization: authorization.unwrap_or_default(),
            body: String::from_utf8_lossy(&body).into_owned(),
        });
        match state.answers.get_mut(&path) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        }
    };
    api.seen.send_modify(|calls| *calls += 1);
    let answer = answer.unwrap_or_else(|| Answer::status(404));
    if let Some(mut held) = answer.held {
        // A test that ended lets go too.
        let _ = held.wait_for(|released| *released).await;
    }
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    if answer.is_cut {
        let whole = (answer.body.len() + 10).to_string();
        let begin = futures::stream::iter([Ok(bytes::Bytes::from(answer.body))]);
        let end = futures::stream::once(async {
            // What came first is on its way by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(std::io::Error::other("cut"))
        });
        let broken = futures::StreamExt::chain(begin, end);
        return response
            .header("content-length", whole)
            .body(Body::from_stream(broken))
            .expect("a response");
    }
    response.body(Body::from(answer.body)).expect("a response")
}
