//! Seeded faults: a layer around a clean service that changes one behaviour each, the way real services go wrong. Every
//! fault names the check that must find it.

mod access;
mod answers;
mod input;
mod limits;
mod resources;

pub mod accounts;
pub mod learning;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use trueline_conformance::profile::Profile;

/// One way of going wrong.
#[derive(Clone, Copy)]
pub struct Fault {
    /// What goes wrong, in kebab case.
    pub name: &'static str,
    /// The check that must find it.
    pub check: &'static str,
    /// How it is done.
    pub how: How,
}

/// Where a fault sits.
#[derive(Clone, Copy)]
pub enum How {
    /// Changes what the service reads.
    Request(fn(&mut Incoming, &Memory)),
    /// Answers in the service's place.
    Answer(fn(&Incoming, &Memory) -> Option<Outgoing>),
    /// Changes what the service answered.
    Response(fn(&Incoming, &mut Outgoing, &Memory)),
    /// Gives the service another limit for a rate class.
    Limit(&'static str, u64),
    /// Promises something else than the service holds.
    Promise(fn(&mut Profile)),
}

/// A request whose body has been read.
pub struct Incoming {
    /// Everything but the body.
    pub parts: http::request::Parts,
    /// The body.
    pub body: Bytes,
}

/// A response whose body has been read.
pub struct Outgoing {
    /// Everything but the body.
    pub parts: http::response::Parts,
    /// The body.
    pub body: Bytes,
}

/// What the layer has seen go by: faults that need the past look here.
#[derive(Default)]
pub struct Memory {
    seen: Mutex<Seen>,
}

#[derive(Default)]
pub(crate) struct Seen {
    /// Access tokens by anything that identifies them: their signed part, and the refresh token they came with.
    access: HashMap<String, String>,
    /// The newest access token by the login's e-mail address.
    by_email: HashMap<String, String>,
    /// Login bodies by access token, and when the token was issued (the service's `Date` does not go by its clock).
    logins: HashMap<String, Bytes>,
    /// Credentials that were limited once.
    pub(crate) limited: HashSet<String>,
    /// A quota was exceeded once.
    pub(crate) over_quota: bool,
    /// Paths whose resource the fault has put aside.
    pub(crate) stale: HashSet<String>,
    /// The newest agent that was answered.
    agent: Option<Value>,
    /// Demo facts that a fault may use.
    pub(crate) good_key: Option<String>,
    revoked_key: Option<String>,
}

#[derive(Clone)]
struct Layer {
    fault: Fault,
    memory: Arc<Memory>,
    inner: Router,
}

/// Credentials of the demonstration that some faults confuse.
pub struct Keys {
    /// Works.
    pub good: String,
    /// Was taken back.
    pub revoked: String,
}

/// Puts a fault around a service.
pub fn wrap(service: Router, fault: Fault, keys: Keys) -> Router {
    let memory = Memory::default();
    {
        let mut seen = memory.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.good_key = Some(keys.good);
        seen.revoked_key = Some(keys.revoked);
    }
    let layer = Layer { fault, memory: Arc::new(memory), inner: service.clone() };
    // A fallback around the whole router, so that its own 404 and 405 pass through here too.
    Router::new().fallback_service(service).layer(middleware::from_fn_with_state(layer, around))
}

async fn around(State(layer): State<Layer>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut incoming = Incoming { parts, body };
    layer.renew_expired(&mut incoming).await;
    if let How::Request(change) = layer.fault.how {
        change(&mut incoming, &layer.memory);
    }
    if let How::Answer(answer) = layer.fault.how
        && let Some(answer) = answer(&incoming, &layer.memory)
    {
        return Response::from_parts(answer.parts, Body::from(answer.body));
    }
    let mut request = Request::from_parts(incoming.parts.clone(), Body::from(incoming.body.clone()));
    let length = HeaderValue::from(incoming.body.len());
    if request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(CONTENT_LENGTH, length);
    }
    let (parts, body) = next.run(request).await.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut outgoing = Outgoing { parts, body };
    layer.memory.remember(&incoming, &outgoing);
    if let How::Response(change) = layer.fault.how {
        change(&incoming, &mut outgoing, &layer.memory);
        if outgoing.parts.headers.contains_key(CONTENT_LENGTH) && outgoing.parts.status != StatusCode::NO_CONTENT {
            outgoing.parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(outgoing.body.len()));
        }
    }
    Response::from_parts(outgoing.parts, Body::from(outgoing.body))
}

impl Layer {
    /// For the fault that ignores expiry: the login behind a token is done again, and the new token takes its place.
    async fn renew_expired(&self, incoming: &mut Incoming) {
        if self.fault.name != "expired-token-accepted" {
            return;
        }
        let Some(login) = incoming.bearer().and_then(|token| self.memory.seen().logins.get(token).cloned()) else {
            return;
        };
        let request =
            http::Request::post("/auth/login/").header(CONTENT_TYPE, "application/json").body(Body::from(login));
        let Ok(mut request) = request else { return };
        *request.extensions_mut() = incoming.parts.extensions.clone();
        let Ok(response) = self.inner.clone().oneshot(request).await;
        let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if let Ok(answer) = serde_json::from_slice::<Value>(&body)
            && let Some(token) = answer["access"].as_str()
        {
            incoming.set_bearer(token);
        }
    }
}

impl Memory {
    pub(crate) fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, incoming: &Incoming, outgoing: &Outgoing) {
        let mut seen = self.seen();
        let Ok(body) = serde_json::from_slice::<Value>(&outgoing.body) else { return };
        if let (Some(access), Some(refresh)) = (body["access"].as_str(), body["refresh"].as_str()) {
            if let Some((signed, _)) = access.rsplit_once('.') {
                seen.access.insert(signed.to_owned(), access.to_owned());
                if let Some((_, payload)) = signed.split_once('.') {
                    seen.access.insert(payload.to_owned(), access.to_owned());
                }
            }
            seen.access.insert(refresh.to_owned(), access.to_owned());
            seen.logins.insert(access.to_owned(), incoming.body.clone());
            if let Some(email) = body["user"]["email"].as_str() {
                seen.by_email.insert(email.to_owned(), access.to_owned());
            }
        }
        if body["systemPrompt"].is_string() && body["id"].is_string() {
            seen.agent = Some(body.clone());
        }
        if body["error"] == "rate_limit_exceeded"
            && let Some(bearer) = incoming.bearer()
        {
            seen.limited.insert(bearer.to_owned());
        }
        seen.over_quota |= body["error"] == "quota_exceeded";
    }

    pub(crate) fn token_of(&self, email: &str) -> Option<String> {
        self.seen().by_email.get(email).cloned()
    }
}

impl Incoming {
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.parts.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
    }

    pub(crate) fn set_bearer(&mut self, token: &str) {
        if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
            self.parts.headers.insert(AUTHORIZATION, value);
        }
    }

    pub(crate) fn is(&self, method: &Method, path: &str) -> bool {
        self.parts.method == *method && self.parts.uri.path() == path
    }

    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// Whether the path is that of one agent.
    pub(crate) fn is_agent(&self) -> bool {
        let mut pieces = self.path().trim_matches('/').split('/');
        pieces.next() == Some("agents") && pieces.next().is_some() && pieces.next().is_none()
    }

    pub(crate) fn is_query(&self) -> bool {
        self.parts.method == Method::POST && self.path().ends_with("/query/")
    }

    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Changes the members of a JSON body.
    pub(crate) fn change_body(&mut self, change: impl FnOnce(&mut Value)) {
        if let Some(mut body) = self.json().filter(Value::is_object) {
            change(&mut body);
            self.body = body.to_string().into();
        }
    }
}

impl Outgoing {
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Value)) {
        if let Some(mut body) = self.json() {
            change(&mut body);
            self.body = body.to_string().into();
        }
    }

    /// Changes the body of answers with this error code.
    pub(crate) fn change_error(&mut self, code: &str, change: impl FnOnce(&mut Value)) {
        if self.json().is_some_and(|body| body["error"] == code) {
            self.change(change);
        }
    }

    pub(crate) fn number(&self, header: &'static str) -> Option<i64> {
        self.parts.headers.get(header)?.to_str().ok()?.parse().ok()
    }

    pub(crate) fn set(&mut self, header: &'static str, value: impl ToString) {
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            self.parts.headers.insert(HeaderName::from_static(header), value);
        }
    }

    /// An answer in the dialect, with the headers that every answer has.
    pub(crate) fn new(status: StatusCode, body: &Value) -> Self {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = status;
        let mut outgoing = Outgoing { parts, body: body.to_string().into() };
        outgoing.set("content-type", "application/json");
        outgoing.set(LIMIT, 1000);
        outgoing.set(REMAINING, 500);
        // Far from every window's edge on the clock that the tests start with; the faults that use this break other things.
        outgoing.set(RESET, 1_767_225_600 + 1800);
        outgoing
    }

    pub(crate) fn error(status: StatusCode, code: &str, details: Value) -> Self {
        Outgoing::new(status, &json!({"error": code, "message": "seeded", "details": details}))
    }
}

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";

/// Every fault, family by family.
pub static FAULTS: LazyLock<Vec<Fault>> =
    LazyLock::new(|| [answers::FAULTS, access::FAULTS, limits::FAULTS, input::FAULTS, resources::FAULTS].concat());
