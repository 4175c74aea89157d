//! A small second service with a document of its own: oauth2 scopes, no extension, entity tags, idempotency keys, two ways
//! of paging. Written to be right; each seeded fault of [`FAULTS`] is one line that goes wrong.

mod faults;
mod handlers;
mod store;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use trueline_conformance::profile::Profile;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_spec::Contract;

pub use self::faults::FAULTS;
use self::store::Store;

/// The document.
pub const DOCUMENT: &str = include_str!("../documents/depot.yaml");

/// What can be asked for.
const SCOPES: [&str; 4] = ["parcels:read", "parcels:write", "parcels:delete", "tokens:admin"];

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

    /// Whether this one fault is there.
    fn has(&self, fault: &str) -> bool {
        self.fault == fault
    }

    /// The service as a router.
    pub fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }
}

/// Who the harness may act as: two tenants, and one who may only read.
pub fn profile() -> Result<Profile, String> {
    Profile::parse(
        r#"
        [principals.nora]
        scheme = "oauth"
        tenant = "north"
        group = "north"
        credential = "north-all-5d1f0b7c9e"
        scopes = ["parcels:read", "parcels:write", "parcels:delete", "tokens:admin"]
        [principals.nora.mint]
        operation = "createToken"
        body = { name = "made by trueline", scopes = [] }
        scopes = "/scopes"
        token = "/token"

        [principals.ned]
        scheme = "oauth"
        tenant = "north"
        group = "north-readers"
        credential = "north-read-c07d2a4418"
        scopes = ["parcels:read"]

        [principals.sara]
        scheme = "oauth"
        tenant = "south"
        group = "south"
        credential = "south-all-98e3f6ab21"
        scopes = ["parcels:read", "parcels:write", "parcels:delete", "tokens:admin"]
        "#,
    )
}

/// The suite for the document, and a running service with one fault (empty: none).
pub fn depot(fault: &'static str) -> Result<(Suite, InProcessTarget), Box<dyn std::error::Error>> {
    let contract = Contract::from_text("depot.yaml", DOCUMENT)?;
    let mut profile = profile()?;
    if fault == "full-pages-take-seconds" {
        profile.budget.answer_ms = Some(700);
    }
    Ok((Suite::new(contract).profile(profile), InProcessTarget::new(Depot::new(fault).router())))
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
            builder = builder.header("content-type", if problem { json } else { "application/json" });
            Body::from(body.to_string())
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

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
