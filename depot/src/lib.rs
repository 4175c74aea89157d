//! trueline-depot: a small service with a document of its own, on which the harness proves itself: oauth2 scopes, roles on a
//! badge, entity tags, idempotency keys, two ways of paging, rate limits in headers, and no extension. Written to be right;
//! each seeded fault of [`FAULTS`] is one line that goes wrong. With the overlay [`WORDS`] the same service has a contract
//! that uses the vocabulary, and more that can be found wrong: [`FAULTS_IN_WORDS`].
//!
//! It knows nothing of the harness and shares no code with it.

mod faults;
mod handlers;
mod lockers;
mod prices;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

pub use self::faults::{FAULTS, FAULTS_IN_WORDS, Fault};
use self::store::Store;

/// The document.
pub const DOCUMENT: &str = include_str!("../documents/depot.yaml");

/// An OpenAPI Overlay that says in the vocabulary what the document leaves open.
pub const WORDS: &str = include_str!("../documents/words.yaml");

/// Who a harness may act as: a profile of Trueline.
pub const PROFILE: &str = include_str!("../documents/profile.toml");

/// What can be asked for.
const SCOPES: [&str; 5] = ["parcels:read", "parcels:write", "parcels:delete", "tokens:admin", "tokens:revoke"];

/// The title of the answer to paths that are none.
const NO_PATH: &str = "there is no such path";

/// The service, with one fault or without.
#[derive(Clone)]
pub struct Depot {
    store: Arc<Store>,
    fault: &'static str,
}

/// A request whose body has been read.
struct Incoming {
    method: Method,
    path: Vec<String>,
    query: Option<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
}

/// An answer in the making.
struct Answer {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Depot {
    /// A service with nothing in it.
    pub fn new(fault: &'static str) -> Self {
        Depot { store: Arc::new(Store::new()), fault }
    }

    /// Parcels and made tokens that are still there.
    pub fn left(&self) -> usize {
        let kept = self.store.lock();
        kept.parcels.len()
            + kept.lockers.len()
            + kept.tokens.values().filter(|token| token.made && !token.revoked).count()
    }

    /// The methods that were asked for so far, each once.
    pub fn methods(&self) -> Vec<String> {
        self.store.lock().methods.iter().cloned().collect()
    }

    /// Writes down what is asked; every twentieth request of a busy depot is sent away.
    fn note(&self, incoming: &Incoming) -> Option<Answer> {
        let mut kept = self.store.lock();
        kept.methods.insert(format!("{} {}", incoming.method, incoming.path.first().cloned().unwrap_or_default()));
        kept.asked += 1;
        let busy = self.has("busy") && kept.asked.is_multiple_of(20);
        busy.then(|| Answer::problem(429, "too many at once").with("retry-after", "0"))
    }

    /// Whether this one fault is there.
    pub(crate) fn has(&self, fault: &str) -> bool {
        self.fault == fault
    }

    /// Milliseconds since 1970, on the service's clock.
    pub fn now_ms(&self) -> i64 {
        self.store.now_ms()
    }

    /// Puts the service's clock forward.
    pub fn advance(&self, by: Duration) {
        self.store.advance(by);
    }

    /// Now, as answers write it.
    fn now(&self) -> String {
        store::rfc3339(self.now_ms())
    }

    /// The service as a router.
    pub fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }
}

async fn serve(State(depot): State<Depot>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let decode = |text: &str| percent_decode(text);
    let path = parts.uri.path().trim_start_matches('/').split('/').map(|piece| decode(piece).unwrap_or_default());
    let query = parts.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name)?, decode(value)?))
    });
    let incoming =
        Incoming { method: parts.method, path: path.collect(), query: pairs.collect(), headers: parts.headers, body };
    let answer = depot.answer(&incoming).await;
    let mut builder = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        builder = builder.header(*name, value);
    }
    let body = match &answer.body {
        None => Body::empty(),
        Some(body) => {
            let problem = answer.status.as_u16() >= 400;
            let json =
                if depot.has("problems-as-plain-json") { "application/json" } else { "application/problem+json" };
            let plain = answer.status == 404 && body["title"] == NO_PATH && depot.has("unknown-paths-in-plain-text");
            let media = match problem {
                true if plain => "text/plain",
                true => json,
                false => "application/json",
            };
            builder = builder.header("content-type", media);
            match body.as_object() {
                _ if plain => Body::from(NO_PATH),
                Some(members) if problem && depot.has("problems-without-a-status") => {
                    let mut members = members.clone();
                    members.remove("status");
                    Body::from(Value::from(members).to_string())
                }
                _ => Body::from(body.to_string()),
            }
        }
    };
    builder.body(body).unwrap_or_default()
}

/// Text of a path piece or query part; none if it is no UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

impl Answer {
    fn new(status: u16, body: Value) -> Self {
        Answer { status: StatusCode::from_u16(status).unwrap_or_default(), headers: Vec::new(), body: Some(body) }
    }

    fn empty(status: u16) -> Self {
        Answer { body: None, ..Answer::new(status, Value::Null) }
    }

    /// RFC 9457.
    fn problem(status: u16, title: &str) -> Self {
        Answer::new(status, json!({"type": "about:blank", "title": title, "status": status}))
    }

    /// The detail of a problem.
    fn because(mut self, detail: &str) -> Self {
        if let Some(body) = &mut self.body {
            body["detail"] = json!(detail);
        }
        self
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
