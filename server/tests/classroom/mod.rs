//! A world to learn in: the service behind its router, in memory, on a clock that the test moves.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use trueline_server::platform::clock::ManualClock;
use trueline_server::platform::http::observe;
use trueline_server::platform::model::{Completion, ModelError, ModelProvider, Question};
use trueline_server::platform::tokens::{PasswordCost, Secret};
use trueline_server::xentree::demo::{self, Demo};
use trueline_server::xentree::{Builder, Service};

/// 2024-03-31T23:00:00.500Z: an hour before a month ends, and not on a whole second.
pub const START_MS: i64 = 1_711_926_000_500;

/// How long a token is used before the next one is asked for; they last an hour.
const TOKEN_MS: i64 = 50 * 60 * 1000;

pub struct World {
    pub service: Service,
    pub router: Router,
    pub demo: Demo,
    pub clock: ManualClock,
    tokens: Mutex<HashMap<String, (i64, String)>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub fn good(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    /// The status of a failure, with the envelope proved.
    #[track_caller]
    pub fn refused(&self) -> u16 {
        assert!(self.status.as_u16() >= 400, "{self:?}");
        let detail = &self.body["detail"];
        assert!(detail.is_string() || detail["error"].is_string() && detail["message"].is_string(), "{self:?}");
        self.status.as_u16()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = ManualClock::starting_at(START_MS);
        let builder = Service::builder()
            .clock(clock.clock())
            .secret(Secret::new("s".repeat(32)))
            .password_cost(PasswordCost::CHEAPEST);
        let service = change(builder).build().await.unwrap();
        let demo = demo::seed(&service).await.unwrap();
        let router = observe(service.router(), Vec::new());
        Self { service, router, demo, clock, tokens: Mutex::default() }
    }

    /// Puts the clock at a time such as `2024-04-01T12:00:00Z`.
    pub fn at(&self, time: &str) {
        self.clock.set_ms(time.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_millis());
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: head.status, body }
    }

    /// A token of the demonstration's user, which is good now.
    pub async fn token(&self, name: &str) -> String {
        let now = self.clock.now_ms();
        if let Some((issued, token)) = self.tokens.lock().unwrap().get(name)
            && (0..TOKEN_MS).contains(&(now - issued))
        {
            return token.clone();
        }
        let user = &self.demo.users[name];
        let form = format!("username={}&password={}", user.username, user.password);
        let request = Request::post("/api/auth/login")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let token = self.send(request).await.good()["access_token"].as_str().unwrap().to_owned();
        self.tokens.lock().unwrap().insert(name.to_owned(), (now, token.clone()));
        token
    }

    /// A call of a user, or of the key `key:<label>`.
    pub async fn call(&self, who: &str, method: Method, path: &str, body: Value) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request = match who.strip_prefix("key:") {
            Some(label) => request.header("x-api-key", &self.demo.keys[label].key),
            None if who.is_empty() => request,
            None => request.header("authorization", format!("Bearer {}", self.token(who).await)),
        };
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, who: &str, path: &str) -> Answer {
        self.call(who, Method::GET, path, Value::Null).await
    }

    pub async fn post(&self, who: &str, path: &str, body: Value) -> Answer {
        self.call(who, Method::POST, path, body).await
    }

    pub async fn delete(&self, who: &str, path: &str) -> Answer {
        self.call(who, Method::DELETE, path, Value::Null).await
    }

    pub async fn zone(&self, who: &str, zone: &str) {
        self.call(who, Method::PATCH, "/api/auth/me", json!({"timezone": zone})).await.good();
    }

    /// Makes a conversation and gives its id.
    pub async fn conversation(&self, who: &str, title: &str) -> String {
        let made = self.post(who, "/api/core/conversations", json!({"title": title})).await.good();
        made["id"].as_str().unwrap().to_owned()
    }

    pub async fn note(&self, who: &str, title: &str, content: &str) -> String {
        let made = self.post(who, "/api/core/notes", json!({"title": title, "content": content})).await.good();
        made["id"].as_str().unwrap().to_owned()
    }

    pub async fn submit(&self, who: &str, module: &str, skill: &str, response: &str) -> Answer {
        let task = format!("{skill}-1");
        let body = json!({"module_id": module, "task_id": task, "skill": skill, "response": response});
        self.post(who, "/api/learn/english/tasks/submit", body).await
    }

    /// Uploads a document; `fields` are further parts of the form.
    pub async fn upload(
        &self,
        who: &str,
        name: &str,
        media_type: &str,
        content: impl AsRef<[u8]>,
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut body = Vec::new();
        for (field, value) in fields {
            body.extend_from_slice(
                format!("--b\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n").as_bytes(),
            );
        }
        body.extend_from_slice(
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {media_type}\r\n\r\n"
            )
            .as_bytes(),
        );
        body.extend_from_slice(content.as_ref());
        body.extend_from_slice(b"\r\n--b--\r\n");
        let mut request = Request::post("/api/rag/upload").header("content-type", "multipart/form-data; boundary=b");
        request = match who.strip_prefix("key:") {
            Some(label) => request.header("x-api-key", &self.demo.keys[label].key),
            None => request.header("authorization", format!("Bearer {}", self.token(who).await)),
        };
        self.send(request.body(Body::from(body)).unwrap()).await
    }
}

/// A model that says what it is told to, and remembers what it was asked.
#[derive(Default)]
pub struct Scripted {
    pub answers: Mutex<Vec<Result<String, u16>>>,
    pub questions: Mutex<Vec<Question>>,
}

impl Scripted {
    pub fn saying(answers: &[&str]) -> Arc<Self> {
        let answers = answers.iter().rev().map(|text| Ok((*text).to_owned())).collect();
        Arc::new(Self { answers: Mutex::new(answers), questions: Mutex::default() })
    }

    /// Answers with nothing but failures.
    pub fn broken() -> Arc<Self> {
        Arc::default()
    }

    pub fn last(&self) -> Question {
        self.questions.lock().unwrap().last().unwrap().clone()
    }
}

impl ModelProvider for Scripted {
    fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Completion, ModelError>> {
        self.questions.lock().unwrap().push(question.clone());
        let next = self.answers.lock().unwrap().pop().unwrap_or(Err(503));
        Box::pin(async move {
            match next {
                Ok(text) => Ok(Completion { text, tokens: 100 }),
                Err(status) => Err(ModelError::Refused(status)),
            }
        })
    }
}

/// The values at a pointer of each element.
pub fn each<'a>(list: &'a Value, key: &str) -> Vec<&'a Value> {
    list.as_array().unwrap().iter().map(|element| &element[key]).collect()
}
