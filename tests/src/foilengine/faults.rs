//! Seeded faults of foilengine: a layer around the clean service that changes one behaviour each. Every fault names the check
//! that must find it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use trueline_server::foilengine::demo::Demo;

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

/// What a fault may know: the demonstration's credentials, and what has gone by.
pub struct Memory {
    /// The demonstration.
    pub demo: Demo,
    seen: Mutex<HashMap<String, Value>>,
}

impl Memory {
    fn seen(&self) -> MutexGuard<'_, HashMap<String, Value>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, name: &str) -> &str {
        self.demo.api_keys.get(name).map(|key| key.key.as_str()).unwrap_or_default()
    }

    fn token(&self, name: &str) -> &str {
        self.demo.users.get(name).map(|user| user.token.as_str()).unwrap_or_default()
    }
}

/// Puts a fault around a service.
pub fn wrap(service: Router, fault: Fault, demo: &Demo) -> Router {
    let memory = Arc::new(Memory { demo: demo.clone(), seen: Mutex::default() });
    // A fallback around the whole router, so that its own 404s pass through here too.
    Router::new().fallback_service(service).layer(middleware::from_fn_with_state((fault, memory), around))
}

async fn around(State((fault, memory)): State<(Fault, Arc<Memory>)>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut incoming = Incoming { parts, body };
    match fault.how {
        How::Request(change) => change(&mut incoming, &memory),
        How::Answer(answer) => {
            if let Some(answer) = answer(&incoming, &memory) {
                return Response::from_parts(answer.parts, Body::from(answer.body));
            }
        }
        How::Response(_) | How::Limit(..) => {}
    }
    let mut request = Request::from_parts(incoming.parts.clone(), Body::from(incoming.body.clone()));
    if request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(incoming.body.len()));
    }
    let (parts, body) = next.run(request).await.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut outgoing = Outgoing { parts, body };
    if let How::Response(change) = fault.how {
        change(&incoming, &mut outgoing, &memory);
        if outgoing.parts.headers.contains_key(CONTENT_LENGTH) && outgoing.parts.status != StatusCode::NO_CONTENT {
            outgoing.parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(outgoing.body.len()));
        }
    }
    Response::from_parts(outgoing.parts, Body::from(outgoing.body))
}

impl Incoming {
    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.parts.headers.insert(name, value);
        }
    }

    fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    fn is(&self, method: &Method, path: &str) -> bool {
        self.parts.method == *method && self.parts.uri.path() == path
    }

    fn ends(&self, method: &Method, end: &str) -> bool {
        self.parts.method == *method && self.parts.uri.path().ends_with(end)
    }

    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Changes a JSON object in the body.
    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        if let Some(mut body) = self.json().filter(Value::is_object) {
            change(&mut body);
            self.body = body.to_string().into();
        }
    }
}

impl Outgoing {
    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        if let Ok(mut body) = serde_json::from_slice::<Value>(&self.body) {
            change(&mut body);
            self.body = body.to_string().into();
        }
    }

    fn is_ok(&self) -> bool {
        self.parts.status == StatusCode::OK
    }

    fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.parts.headers.insert(name, value);
        }
    }

    fn new(status: StatusCode, body: &Value) -> Self {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = status;
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Outgoing { parts, body: body.to_string().into() }
    }

    fn error(status: StatusCode) -> Self {
        Outgoing::new(status, &json!({"error": {"message": "seeded"}}))
    }

    fn limited() -> Self {
        let mut limited = Outgoing::error(StatusCode::TOO_MANY_REQUESTS);
        limited.set("retry-after", "60");
        limited
    }
}

const SAVE: &str = "/api/v1/creator/save";
const PERSONAS: &str = "/api/v1/personas";
const KEYS: &str = "/api/v1/sdk/api-keys";

/// Every fault, family by family.
pub const FAULTS: &[Fault] = &[
    // response
    Fault {
        name: "created-is-201",
        check: "response.status",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::POST, KEYS) && outgoing.is_ok() {
                outgoing.parts.status = StatusCode::CREATED;
            }
        }),
    },
    Fault {
        name: "outcome-in-lower-case",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.ends(&Method::POST, "/message") {
                outgoing.change(|body| {
                    if let Some(outcome) = body["outcome"].as_str().map(str::to_lowercase) {
                        body["outcome"] = json!(outcome);
                    }
                });
            }
        }),
    },
    Fault {
        name: "list-in-an-envelope",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.is(&Method::GET, "/api/v1/sdk/personas") && outgoing.is_ok() {
                outgoing.change(|body| *body = json!({"data": body.take()}));
            }
        }),
    },
    Fault {
        name: "event-without-its-type",
        check: "response.schema",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.ends(&Method::POST, "/stream") && outgoing.is_ok() {
                let text = String::from_utf8_lossy(&outgoing.body).replace("\"type\":\"token\",", "");
                outgoing.body = text.into();
            }
        }),
    },
    Fault {
        name: "stream-as-json",
        check: "response.media-type",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.ends(&Method::POST, "/stream") && outgoing.is_ok() {
                outgoing.set("content-type", "application/json");
            }
        }),
    },
    Fault {
        name: "text-on-no-content",
        check: "response.no-body",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::NO_CONTENT {
                outgoing.set("content-length", "2");
                outgoing.body = "{}".into();
            }
        }),
    },
    // error
    Fault {
        name: "message-without-its-object",
        check: "error.envelope",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::UNAUTHORIZED {
                outgoing.change(|body| *body = json!({"error": body["error"]["message"].take()}));
            }
        }),
    },
    Fault {
        name: "a-code-beside-the-message",
        check: "error.envelope",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::NOT_FOUND {
                outgoing.change(|body| body["error"]["code"] = json!("not_found"));
            }
        }),
    },
    Fault {
        name: "wrong-method-is-405",
        check: "error.envelope",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.parts.method == Method::PUT && outgoing.parts.status == StatusCode::NOT_FOUND {
                outgoing.parts.status = StatusCode::METHOD_NOT_ALLOWED;
            }
        }),
    },
    Fault {
        name: "sql-in-the-message",
        check: "error.no-internals",
        how: How::Response(|_, outgoing, _| {
            if outgoing.parts.status == StatusCode::NOT_FOUND {
                outgoing.change(|body| {
                    body["error"]["message"] = json!("no row: SELECT id, name FROM personas WHERE id = $1");
                });
            }
        }),
    },
    // auth
    Fault {
        name: "keys-listed-to-anybody",
        check: "auth.required",
        how: How::Answer(|incoming, _| {
            let open = incoming.is(&Method::GET, KEYS) && !incoming.parts.headers.contains_key(AUTHORIZATION);
            open.then(|| Outgoing::new(StatusCode::OK, &json!([])))
        }),
    },
    Fault {
        name: "model-key-not-required",
        check: "auth.required",
        how: How::Request(|incoming, memory| {
            if incoming.header("x-api-key").is_some() && incoming.header("x-llm-api-key").is_none() {
                incoming.set("x-llm-api-key", &memory.demo.llm_key);
            }
        }),
    },
    Fault {
        name: "signature-not-checked",
        check: "auth.rejects-invalid",
        how: How::Request(|incoming, memory| {
            let signed = |token: &str| token.rsplit_once('.').map(|(signed, _)| signed.to_owned());
            let ines = memory.token("ines").to_owned();
            if incoming.bearer().and_then(signed).is_some_and(|sent| Some(sent) == signed(&ines)) {
                incoming.set("authorization", &format!("Bearer {ines}"));
            }
        }),
    },
    Fault {
        name: "any-model-key-will-do",
        check: "auth.rejects-invalid",
        how: How::Request(|incoming, memory| {
            if incoming.header("x-llm-api-key").is_some_and(|key| key.len() > 16) {
                incoming.set("x-llm-api-key", &memory.demo.llm_key);
            }
        }),
    },
    Fault {
        name: "expired-token-accepted",
        check: "auth.rejects-expired",
        how: How::Request(|incoming, memory| {
            if incoming.bearer() == Some(&memory.demo.expired_token) {
                let good = format!("Bearer {}", memory.token("ines"));
                incoming.set("authorization", &good);
            }
        }),
    },
    Fault {
        name: "revoked-key-accepted",
        check: "auth.rejects-revoked",
        how: How::Request(|incoming, memory| {
            if incoming.header("x-api-key") == Some(&memory.demo.revoked_api_key) {
                incoming.set("x-api-key", memory.key("ines-game"));
            }
        }),
    },
    Fault {
        name: "key-compared-by-its-start",
        check: "auth.whole-credential",
        how: How::Request(|incoming, memory| {
            let good = memory.key("ines-game");
            if incoming.header("x-api-key").is_some_and(|key| key.starts_with(&good[..24])) {
                incoming.set("x-api-key", good);
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
        name: "odd-bytes-in-a-key-crash",
        check: "auth.malformed",
        how: How::Answer(|incoming, _| {
            let odd = incoming.parts.headers.get("x-api-key").is_some_and(|value| value.to_str().is_err());
            odd.then(|| Outgoing::error(StatusCode::INTERNAL_SERVER_ERROR))
        }),
    },
    // scope
    Fault {
        name: "everybody-is-an-administrator",
        check: "scope.enforced",
        how: How::Request(|incoming, memory| {
            if incoming.is(&Method::GET, "/api/v1/admin/personas") && incoming.bearer() == Some(memory.token("gina")) {
                let root = format!("Bearer {}", memory.token("root"));
                incoming.set("authorization", &root);
            }
        }),
    },
    // limit
    Fault { name: "one-generation-too-many", check: "limit.enforced", how: How::Limit("generation", 11) },
    Fault { name: "refuses-one-early", check: "limit.enforced", how: How::Limit("sdk-general", 59) },
    Fault {
        name: "streams-are-not-counted",
        check: "limit.enforced",
        how: How::Response(|incoming, outgoing, _| {
            if incoming.ends(&Method::POST, "/stream") && outgoing.parts.status == StatusCode::TOO_MANY_REQUESTS {
                *outgoing = Outgoing::error(StatusCode::NOT_FOUND);
            }
        }),
    },
    Fault {
        name: "no-retry-after",
        check: "limit.retry-after",
        how: How::Response(|_, outgoing, _| {
            outgoing.parts.headers.remove(RETRY_AFTER);
        }),
    },
    Fault {
        name: "retry-after-too-short",
        // Without a header that tells the end of the window, trying it out is the only way to know.
        check: "limit.recovers",
        how: How::Response(|_, outgoing, _| {
            let wait =
                outgoing.parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            if let Some(wait) = wait {
                outgoing.set("retry-after", &(wait / 2).max(1).to_string());
            }
        }),
    },
    Fault {
        name: "keys-share-a-counter",
        check: "limit.isolated",
        how: How::Answer(|incoming, memory| {
            // Both keys of one account on one counter: once the one is limited, so is the other.
            if incoming.header("x-api-key") == Some(memory.key("rafe-game")) {
                let mut seen = memory.seen();
                let calls = seen.entry("calls".to_owned()).or_insert_with(|| json!(0));
                *calls = json!(calls.as_u64().unwrap_or(0) + 1);
            }
            let limited = memory.seen().get("calls").and_then(Value::as_u64).unwrap_or(0) > 30;
            let other = incoming.header("x-api-key") == Some(memory.key("rafe-second-game"));
            (limited && other).then(Outgoing::limited)
        }),
    },
    // input
    Fault {
        name: "short-messages-refused",
        check: "input.accepts-valid",
        how: How::Answer(|incoming, _| {
            let short = incoming.ends(&Method::POST, "/message")
                && incoming
                    .json()
                    .is_some_and(|body| body["message"].as_str().is_some_and(|message| message.chars().count() == 1));
            short.then(|| Outgoing::error(StatusCode::BAD_REQUEST))
        }),
    },
    Fault {
        name: "any-gender-taken",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.ends(&Method::POST, "/init-session") {
                incoming.change(|body| {
                    let known = ["female", "male", "non-binary"];
                    if body["player_gender"].as_str().is_some_and(|gender| !known.contains(&gender)) {
                        body["player_gender"] = json!("female");
                    }
                });
            }
        }),
    },
    Fault {
        name: "limit-not-bounded",
        check: "input.rejects-invalid",
        how: How::Request(|incoming, _| {
            if incoming.is(&Method::GET, PERSONAS) && incoming.parts.uri.query().is_some_and(|query| query.len() > 5) {
                incoming.parts.uri = http::Uri::from_static(PERSONAS);
            }
        }),
    },
    Fault {
        name: "odd-characters-crash",
        check: "input.no-server-error",
        how: How::Answer(|incoming, _| {
            let odd = incoming.is(&Method::POST, SAVE)
                && std::str::from_utf8(&incoming.body).is_ok_and(|text| !text.is_ascii());
            odd.then(|| Outgoing::error(StatusCode::INTERNAL_SERVER_ERROR))
        }),
    },
    // secret
    Fault {
        name: "keys-in-the-list",
        check: "secret.shown-once",
        how: How::Response(|incoming, outgoing, memory| {
            if incoming.is(&Method::GET, KEYS) && outgoing.is_ok() {
                let key = memory.key("noor-game").to_owned();
                outgoing.change(|body| {
                    body.as_array_mut().into_iter().flatten().for_each(|entry| entry["key"] = json!(key));
                });
            }
        }),
    },
    Fault {
        name: "model-key-in-the-answer",
        check: "secret.never",
        how: How::Response(|incoming, outgoing, _| {
            if let Some(key) = incoming.header("x-llm-api-key").filter(|_| outgoing.is_ok()) {
                let key = key.to_owned();
                outgoing.change(|body| {
                    if body.is_object() {
                        body["debug"] = json!(key);
                    }
                });
            }
        }),
    },
];
