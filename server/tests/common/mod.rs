//! A world to test in: the service behind its router, in memory, on a clock that the test moves.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, unused_imports)]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use trueline_server::platform::clock::ManualClock;
use trueline_server::platform::http::observe;
use trueline_server::platform::model::ModelProvider;
use trueline_server::platform::tokens::{PasswordCost, Secret};
use trueline_server::ragchats::demo::{self, Demo};
use trueline_server::ragchats::{Builder, Service};

mod pdf;

pub use pdf::pdf;

/// 2024-03-31T23:00:00.500Z: an hour before a month ends, and not on a whole second.
pub const START_MS: i64 = 1_711_926_000_500;

pub struct World {
    pub service: Service,
    pub router: Router,
    pub demo: Demo,
    pub clock: ManualClock,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Status and code of a failure, with the envelope proved.
    pub fn failure(&self) -> (u16, &str) {
        let envelope: Vec<&String> = self.body.as_object().unwrap().keys().collect();
        assert_eq!(envelope, ["error", "message", "details"], "{self:?}");
        assert!(self.body["details"].is_object() && self.body["message"].is_string(), "{self:?}");
        (self.status, self.body["error"].as_str().unwrap())
    }

    pub fn number(&self, header: &str) -> u64 {
        self.headers[header].to_str().unwrap().parse().unwrap()
    }

    pub fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {self:?}"))
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub async fn with_provider(provider: Arc<dyn ModelProvider>) -> Self {
        Self::with(|builder| builder.provider(provider)).await
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
        Self { service, router, demo, clock }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        for header in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id"] {
            assert!(head.headers.contains_key(header), "{header} is missing from {head:?}");
        }
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub async fn call(&self, method: Method, path: &str, token: &str, body: Value) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, Value::Null).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::POST, path, token, body).await
    }

    pub async fn log_in(&self, name: &str) -> Answer {
        let user = &self.demo.users[name];
        self.post("/auth/login/", "", json!({"email": user.email, "password": user.password})).await
    }

    pub async fn token(&self, name: &str) -> String {
        self.log_in(name).await.text("/access").to_owned()
    }

    pub fn agent(&self, organization: &str) -> String {
        self.demo.organizations[organization].agent.to_string()
    }

    pub async fn ask(&self, agent: &str, token: &str, message: &str) -> Answer {
        self.post(&format!("/agents/{agent}/query/"), token, json!({"message": message})).await
    }

    /// Makes a data source in organization A and gives its id.
    pub async fn source(&self, token: &str, source_type: &str, config: Value) -> String {
        let organization = self.demo.organizations["a"].id;
        let body = json!({"name": "New", "sourceType": source_type, "organizationId": organization, "config": config});
        let created = self.post("/data-sources/", token, body).await;
        assert_eq!((created.status, created.text("/status")), (201, "pending"), "{created:?}");
        created.text("/id").to_owned()
    }

    /// Makes an agent in organization A that answers from a data source, and gives its id.
    pub async fn agent_on(&self, token: &str, sources: &[&str]) -> String {
        let organization = self.demo.organizations["a"].id;
        let body = json!({"name": "New", "organizationId": organization, "dataSourceIds": sources});
        let created = self.post("/agents/", token, body).await;
        assert_eq!(created.status, 201, "{created:?}");
        created.text("/id").to_owned()
    }

    pub async fn upload(
        &self,
        source: &str,
        token: &str,
        name: &str,
        media_type: &str,
        content: impl AsRef<[u8]>,
    ) -> Answer {
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {media_type}\r\n\r\n"
        );
        let body = [head.as_bytes(), content.as_ref(), b"\r\n--b--\r\n"].concat();
        let request = Request::post(format!("/data-sources/{source}/upload/"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "multipart/form-data; boundary=b")
            .body(Body::from(body));
        self.send(request.unwrap()).await
    }

    pub async fn read_source(&self, token: &str, source: &str) -> Answer {
        self.get(&format!("/data-sources/{source}/"), token).await
    }
}
