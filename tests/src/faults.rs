//! Seeded faults: a layer around a clean service that changes one behaviour each, the way real services go wrong. Every
//! fault names the check that must find it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

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

    fn remember(&self, incoming: &Incoming, outgoing: &Outgoing) {
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

    fn token_of(&self, email: &str) -> Option<String> {
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
    fn is_agent(&self) -> bool {
        let mut pieces = self.path().trim_matches('/').split('/');
        pieces.next() == Some("agents") && pieces.next().is_some() && pieces.next().is_none()
    }

    fn is_query(&self) -> bool {
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
    fn new(status: StatusCode, body: &Value) -> Self {
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

    fn error(status: StatusCode, code: &str, details: Value) -> Self {
        Outgoing::new(status, &json!({"error": code, "message": "seeded", "details": details}))
    }
}

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";

/// Every fault, family by family.
pub const FAULTS: &[Fault] = &[
    // response
    Fault {
        name: "undocumented-status",
        check: "response.status",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/agents/") && outgoing.parts.status == StatusCode::CREATED {
                outgoing.parts.status = StatusCode::ACCEPTED;
            }
        }),
    },
    Fault {
        name: "list-item-without-name",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/agents/") {
                outgoing.change(|body| {
                    for agent in body.as_array_mut().into_iter().flatten() {
                        agent.as_object_mut().map(|agent| agent.remove("name"));
                    }
                });
            }
        }),
    },
    Fault {
        name: "timestamp-as-number",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is_agent() && outgoing.parts.status == StatusCode::OK {
                outgoing.change(|body| body["createdAt"] = json!(1_700_000_000));
            }
        }),
    },
    Fault {
        name: "null-where-a-number-belongs",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/data-sources/") {
                outgoing.change(|body| {
                    if let Some(progress) = body.get_mut("progressPercentage") {
                        *progress = Value::Null;
                    }
                });
            }
        }),
    },
    Fault {
        name: "score-out-of-range",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/analytics/") && outgoing.parts.status == StatusCode::OK {
                outgoing.change(|body| body["successRate"] = json!(140));
            }
        }),
    },
    Fault {
        name: "html-for-json",
        check: "response.media-type",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/data-sources/") && outgoing.parts.status == StatusCode::OK {
                outgoing.set("content-type", "text/html");
            }
        }),
    },
    Fault {
        name: "empty-request-id",
        check: "response.headers",
        how: How::Response(|_, outgoing, _| outgoing.set("x-request-id", "")),
    },
    Fault {
        name: "length-on-no-content",
        check: "response.no-body",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::NO_CONTENT {
                outgoing.set("content-length", 2);
                outgoing.body = "{}".into();
            }
        }),
    },
    Fault {
        name: "body-states-another-limit",
        check: "response.agrees",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("rate_limit_exceeded", |body| body["details"]["limit"] = json!(7));
        }),
    },
    // error
    Fault {
        name: "plain-text-404-of-the-router",
        check: "error.envelope",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().contains("no-such-path") {
                outgoing.body = "Not Found".into();
                outgoing.set("content-type", "text/plain");
            }
        }),
    },
    Fault {
        name: "envelope-without-details",
        check: "error.envelope",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::UNAUTHORIZED {
                outgoing.change(|body| {
                    body.as_object_mut().map(|body| body.remove("details"));
                });
            }
        }),
    },
    Fault {
        name: "wrong-method-is-405",
        check: "error.envelope",
        how: How::Response(|incoming, outgoing, _| {
            if matches!(incoming.parts.method, Method::PUT) && outgoing.parts.status == StatusCode::NOT_FOUND {
                outgoing.parts.status = StatusCode::METHOD_NOT_ALLOWED;
            }
        }),
    },
    Fault {
        name: "unknown-code",
        check: "error.code-known",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("agent_not_found", |body| body["error"] = json!("agent_missing"));
        }),
    },
    Fault {
        name: "code-with-another-status",
        check: "error.code-status",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.parts.method == Method::PATCH && outgoing.parts.status == StatusCode::NOT_FOUND {
                outgoing.parts.status = StatusCode::BAD_REQUEST;
            }
        }),
    },
    Fault {
        name: "code-of-another-operation",
        check: "error.code-status",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/data-sources/") {
                outgoing.change_error("data_source_not_found", |body| body["error"] = json!("conversation_not_found"));
            }
        }),
    },
    Fault {
        name: "missing-told-as-invalid",
        check: "error.code-status",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("missing_field", |body| {
                body["error"] = json!("invalid_field");
                body["details"]["reason"] = json!("is missing");
            });
        }),
    },
    Fault {
        name: "details-of-another-shape",
        check: "error.details",
        how: How::Response(|_, outgoing, _| {
            outgoing
                .change_error("missing_field", |body| body["details"] = json!({"fields": body["details"]["field"]}));
        }),
    },
    Fault {
        name: "another-field-named",
        check: "error.fields",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("invalid_field", |body| {
                body["details"]["field"] = json!("something");
                body["details"]["reason"] = json!("is wrong");
            });
        }),
    },
    Fault {
        name: "sql-in-the-message",
        check: "error.no-internals",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("agent_not_found", |body| {
                body["message"] = json!("no row: SELECT id, name FROM agents WHERE id = $1");
            });
        }),
    },
    Fault {
        name: "stack-trace-in-the-details",
        check: "error.no-internals",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("validation_error", |body| {
                body["details"]["trace"] = json!(["at validate (/srv/app/src/body.js:12:7)"]);
            });
        }),
    },
    // auth
    Fault {
        name: "open-operation",
        check: "auth.required",
        how: How::Answer(|incoming, _| {
            let open =
                incoming.is(&Method::GET, "/data-sources/") && !incoming.parts.headers.contains_key(AUTHORIZATION);
            open.then(|| Outgoing::new(StatusCode::OK, &json!([])))
        }),
    },
    Fault {
        name: "signature-not-checked",
        check: "auth.rejects-invalid",
        how: How::Request(|incoming, memory| {
            let known = incoming.bearer().and_then(|token| {
                let signed = token.rsplit_once('.')?.0;
                memory.seen().access.get(signed).cloned()
            });
            if let Some(known) = known {
                incoming.set_bearer(&known);
            }
        }),
    },
    Fault {
        name: "unsigned-tokens-accepted",
        check: "auth.rejects-invalid",
        how: How::Request(|incoming, memory| {
            let known = incoming.bearer().and_then(|token| {
                let payload = token.strip_suffix('.')?.split('.').nth(1)?;
                memory.seen().access.get(payload).cloned()
            });
            if let Some(known) = known {
                incoming.set_bearer(&known);
            }
        }),
    },
    Fault {
        name: "expired-token-accepted",
        check: "auth.rejects-expired",
        // What it takes stands in `Layer::renew_expired`, because it has to ask the service.
        how: How::Request(|_, _| {}),
    },
    Fault {
        name: "expired-token-with-the-wrong-code",
        check: "auth.rejects-expired",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("token_expired", |body| body["error"] = json!("invalid_token"));
        }),
    },
    Fault {
        name: "revoked-key-accepted",
        check: "auth.rejects-revoked",
        how: How::Request(|incoming, memory| {
            let seen = memory.seen();
            if incoming.bearer().is_some()
                && incoming.bearer() == seen.revoked_key.as_deref()
                && let Some(good) = seen.good_key.clone()
            {
                incoming.set_bearer(&good);
            }
        }),
    },
    Fault {
        name: "key-compared-by-its-start",
        check: "auth.whole-credential",
        how: How::Request(|incoming, memory| {
            let good = memory.seen().good_key.clone().unwrap_or_default();
            if incoming.bearer().is_some_and(|key| good.len() > 16 && key.starts_with(&good[..16])) {
                incoming.set_bearer(&good);
            }
        }),
    },
    Fault {
        name: "refresh-token-opens",
        check: "auth.token-kind",
        how: How::Request(|incoming, memory| {
            let access = incoming.bearer().and_then(|token| memory.seen().access.get(token).cloned());
            if let Some(access) = access {
                incoming.set_bearer(&access);
            }
        }),
    },
    Fault {
        name: "agent-key-opens-management",
        check: "auth.token-kind",
        how: How::Request(|incoming, memory| {
            let is_key = incoming.bearer().is_some_and(|key| Some(key) == memory.seen().good_key.as_deref());
            if is_key
                && !incoming.is_query()
                && let Some(token) = memory.token_of("alice@demo.example.com")
            {
                incoming.set_bearer(&token);
            }
        }),
    },
    Fault {
        name: "no-challenge",
        check: "auth.challenge",
        how: How::Response(|_, outgoing, _| {
            outgoing.parts.headers.remove(WWW_AUTHENTICATE);
        }),
    },
    Fault {
        name: "odd-bytes-in-a-token-crash",
        check: "auth.malformed",
        how: How::Answer(|incoming, _| {
            let odd = incoming.parts.headers.get(AUTHORIZATION).is_some_and(|value| value.to_str().is_err());
            odd.then(|| Outgoing::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", json!({})))
        }),
    },
    // scope
    Fault {
        name: "viewer-may-write",
        check: "scope.enforced",
        how: How::Request(|incoming, memory| {
            let victor = memory.token_of("victor@demo.example.com");
            if victor.is_some()
                && incoming.bearer() == victor.as_deref()
                && let Some(token) = memory.token_of("alice@demo.example.com")
            {
                incoming.set_bearer(&token);
            }
        }),
    },
    // limit
    Fault {
        name: "failures-without-limit-headers",
        check: "limit.headers",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status.is_client_error() {
                outgoing.parts.headers.remove(REMAINING);
            }
        }),
    },
    Fault {
        name: "limit-header-doubled",
        check: "limit.value",
        how: How::Response(|_, outgoing, _| {
            if let Some(limit) = outgoing.number(LIMIT) {
                outgoing.set(LIMIT, limit * 2);
            }
        }),
    },
    Fault {
        name: "counts-twice",
        check: "limit.countdown",
        how: How::Response(|_, outgoing, _| {
            if let (Some(limit), Some(remaining)) = (outgoing.number(LIMIT), outgoing.number(REMAINING)) {
                outgoing.set(REMAINING, (limit - 2 * (limit - remaining)).max(0));
            }
        }),
    },
    Fault {
        name: "something-left-on-a-refusal",
        check: "limit.countdown",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::TOO_MANY_REQUESTS {
                outgoing.set(REMAINING, 1);
            }
        }),
    },
    Fault {
        name: "reset-in-milliseconds",
        check: "limit.reset",
        how: How::Response(|_, outgoing, _| {
            if let Some(reset) = outgoing.number(RESET) {
                outgoing.set(RESET, reset * 1000);
            }
        }),
    },
    Fault {
        name: "reset-as-a-span",
        check: "limit.reset",
        how: How::Response(|_, outgoing, _| outgoing.set(RESET, 1800)),
    },
    Fault { name: "one-query-too-many", check: "limit.enforced", how: How::Limit("agent-query", 61) },
    Fault { name: "refuses-one-early", check: "limit.enforced", how: How::Limit("authenticated", 999) },
    Fault {
        name: "one-operation-not-limited",
        check: "limit.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.path().starts_with("/analytics/") && outgoing.parts.status == StatusCode::TOO_MANY_REQUESTS {
                outgoing.parts.status = StatusCode::NOT_FOUND;
                outgoing.change(|body| {
                    *body = json!({"error": "agent_not_found", "message": "seeded", "details": {"agent_id": "x"}});
                });
            }
        }),
    },
    Fault {
        name: "no-wait-in-the-body",
        check: "limit.retry-after",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("rate_limit_exceeded", |body| {
                body["details"].as_object_mut().map(|details| details.remove("retry_after"));
            });
        }),
    },
    Fault {
        name: "wait-too-short",
        check: "limit.retry-after",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("rate_limit_exceeded", |body| {
                let wait = body["details"]["retry_after"].as_i64().unwrap_or(2);
                body["details"]["retry_after"] = json!((wait / 2).max(1));
            });
        }),
    },
    Fault {
        name: "users-share-a-counter",
        check: "limit.isolated",
        how: How::Answer(|incoming, memory| {
            let limited = !memory.seen().limited.is_empty()
                && incoming.bearer() == memory.token_of("dora@demo.example.com").as_deref()
                && incoming.bearer().is_some();
            let details = json!({"retry_after": 1800, "limit": 1000, "window": "hour"});
            limited.then(|| Outgoing::error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", details))
        }),
    },
    Fault {
        name: "window-never-ends",
        check: "limit.recovers",
        how: How::Answer(|incoming, memory| {
            let limited = !memory.seen().limited.is_empty()
                && incoming.bearer().is_some()
                && incoming.bearer() == memory.token_of("dave@demo.example.com").as_deref();
            let details = json!({"retry_after": 1800, "limit": 1000, "window": "hour"});
            limited.then(|| Outgoing::error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", details))
        }),
    },
    Fault {
        name: "limited-told-as-quota",
        check: "limit.envelope",
        how: How::Response(|_, outgoing, _| {
            outgoing.change_error("rate_limit_exceeded", |body| {
                body["error"] = json!("quota_exceeded");
                body["details"] =
                    json!({"limit": 60, "used": 60, "window": "month", "reset_at": "2026-02-01T00:00:00Z"});
            });
        }),
    },
    Fault {
        name: "quota-one-too-many",
        check: "quota.enforced",
        how: How::Promise(|profile| {
            for principal in profile.principals.values_mut() {
                principal.quotas.values_mut().for_each(|limit| *limit -= 1);
            }
        }),
    },
    Fault {
        name: "quota-never-starts-again",
        check: "quota.enforced",
        how: How::Answer(|incoming, memory| {
            let erin = memory.token_of("erin@demo.example.com");
            let over = memory.seen().over_quota && incoming.is_query() && incoming.bearer() == erin.as_deref();
            let details = json!({"limit": 5, "used": 5, "window": "month", "reset_at": "2026-02-01T00:00:00Z"});
            over.then(|| Outgoing::error(StatusCode::TOO_MANY_REQUESTS, "quota_exceeded", details))
        }),
    },
    // input
    Fault {
        name: "long-names-refused",
        check: "input.accepts-valid",
        how: How::Answer(|incoming, _| {
            let long = incoming.is(&Method::POST, "/agents/")
                && incoming
                    .json()
                    .is_some_and(|body| body["name"].as_str().is_some_and(|name| name.chars().count() == 255));
            let details = json!({"field": "name", "reason": "too long"});
            long.then(|| Outgoing::error(StatusCode::BAD_REQUEST, "invalid_field", details))
        }),
    },
    Fault {
        name: "temperature-not-bounded",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.path().starts_with("/agents/") {
                incoming.change_body(|body| {
                    if body["temperature"].as_f64().is_some_and(|temperature| temperature > 2.0) {
                        body["temperature"] = json!(2);
                    }
                });
            }
        }),
    },
    Fault {
        name: "name-not-required",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::POST, "/agents/") {
                incoming.change_body(|body| {
                    if body.get("name").is_none() {
                        body["name"] = json!("unnamed");
                    }
                });
            }
        }),
    },
    Fault {
        name: "numbers-taken-for-text",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is_query() {
                incoming.change_body(|body| {
                    if body["message"].is_number() || body["message"].is_boolean() {
                        body["message"] = json!(body["message"].to_string());
                    }
                });
            }
        }),
    },
    Fault {
        name: "bad-filter-ignored",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::GET, "/agents/") && incoming.parts.uri.query().is_some_and(|query| query.len() < 40)
            {
                incoming.parts.uri = http::Uri::from_static("/agents/");
            }
        }),
    },
    Fault {
        name: "any-media-type-read",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::POST, "/agents/") {
                incoming.parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
        }),
    },
    Fault {
        name: "unknown-agent-is-some-agent",
        check: "input.rejects-invalid",
        how: How::Response(|incoming, outgoing, memory| {
            let missing = outgoing.parts.status == StatusCode::NOT_FOUND && incoming.parts.method == Method::GET;
            if missing
                && incoming.is_agent()
                && let Some(agent) = memory.seen().agent.clone()
            {
                outgoing.parts.status = StatusCode::OK;
                outgoing.body = agent.to_string().into();
            }
        }),
    },
    Fault {
        name: "odd-characters-crash",
        check: "input.no-server-error",
        how: How::Answer(|incoming, _| {
            let odd = incoming.is_query() && std::str::from_utf8(&incoming.body).is_ok_and(|text| !text.is_ascii());
            odd.then(|| Outgoing::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", json!({})))
        }),
    },
    Fault {
        name: "deep-bodies-taken",
        check: "input.bounded",
        how: How::Answer(|incoming, _| {
            let deep = incoming.body.starts_with(b"[[[[[[[[");
            deep.then(|| Outgoing::new(StatusCode::OK, &json!({"access": "x"})))
        }),
    },
    Fault {
        name: "id-from-the-request",
        check: "input.read-only-ignored",
        how: How::Response(|incoming, outgoing, _| {
            let wanted = incoming.json().and_then(|body| body.get("id").cloned());
            if incoming.is(&Method::POST, "/agents/")
                && outgoing.parts.status == StatusCode::CREATED
                && let Some(id) = wanted
            {
                outgoing.change(|body| body["id"] = id);
            }
        }),
    },
    // secret
    Fault {
        name: "password-in-the-answer",
        check: "secret.never",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/auth/login/") && outgoing.parts.status == StatusCode::OK {
                let password = incoming.json().map(|body| body["password"].clone()).unwrap_or_default();
                outgoing.change(|body| body["user"]["hint"] = password);
            }
        }),
    },
    Fault {
        name: "key-in-a-header",
        check: "secret.never",
        how: How::Response(|incoming, outgoing, _| {
            if let Some(key) = incoming.bearer().filter(|key| key.starts_with("rc_")) {
                outgoing.set("x-debug-key", key);
            }
        }),
    },
    Fault {
        name: "configuration-with-its-password",
        check: "secret.write-only",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, "/data-sources/") && outgoing.parts.status == StatusCode::CREATED {
                let config = incoming.json().map(|body| body["config"].clone()).unwrap_or_default();
                outgoing.change(|body| body["config"] = config);
            }
        }),
    },
];
