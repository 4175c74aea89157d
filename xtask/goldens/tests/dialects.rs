//! Two more dialects at work: `detail` (a text or an object) and `message` (nothing but a text).

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use trueline_goldens::{detail, message};
use trueline_runtime::contract::{Per, RateClass};
use trueline_runtime::gate::{Call, Gate, Identity, Standing};

/// Lets everybody in who says a word; the word is the scope.
struct Porter<F> {
    count: AtomicU64,
    failure: std::marker::PhantomData<fn() -> F>,
}

impl<F> Porter<F> {
    fn new() -> Arc<Self> {
        Arc::new(Porter { count: AtomicU64::new(0), failure: std::marker::PhantomData })
    }
}

macro_rules! porter {
    ($contract:ident, $scheme:ident) => {
        impl Gate for Porter<$contract::server::GateFailure> {
            type Principal = ();
            type Failure = $contract::server::GateFailure;
            async fn identify(&self, call: Call<'_>) -> Result<Option<Identity<()>>, Self::Failure> {
                let scopes = |word: &str| -> Arc<[String]> { [word.to_owned()].into() };
                Ok(call
                    .bearer()
                    .map(|word| Identity::new((), $contract::operations::schemes::$scheme).with_scopes(scopes(word))))
            }
            fn counter<'a>(&'a self, _: Per, _: &'a Identity<()>) -> Option<Cow<'a, str>> {
                Some("one".into())
            }
            async fn count(&self, class: &'static RateClass, _: &str) -> Standing {
                let used = self.count.fetch_add(1, Ordering::SeqCst) + 1;
                let remaining = class.limit.saturating_sub(used);
                Standing {
                    allowed: used <= class.limit,
                    limit: class.limit,
                    remaining,
                    reset_unix: 784_111_777,
                    wait_seconds: 9,
                }
            }
        }
    };
}
porter!(detail, OAUTH);
porter!(message, JWT);

struct Service;

impl detail::server::Items for Service {
    type Principal = ();
    async fn get_item(
        &self,
        _: &(),
        request: detail::server::GetItemRequest,
    ) -> Result<detail::server::GetItemResponse, detail::server::GetItemError> {
        use detail::{problems, server::GetItemResponse};
        match request.item_id {
            0 => Err(problems::NotFound::because("Item not found").into()),
            1 => Err(problems::QuotaExceeded::because("Monthly quota exceeded").into()),
            2 => Ok(GetItemResponse::Found(detail::server::GetItemFound {
                location: "/items/3".try_into().expect("a header"),
            })),
            _ => Ok(GetItemResponse::Ok("item".to_owned())),
        }
    }
}

impl message::server::Personas for Service {
    type Principal = ();
    async fn get_persona(
        &self,
        _: &(),
        request: message::server::GetPersonaRequest,
    ) -> Result<message::server::GetPersonaResponse, message::server::GetPersonaError> {
        let body = message::types::GetPersonaOkBody { name: request.x_note };
        Ok(message::server::GetPersonaResponse::Ok(body))
    }
}

async fn get(router: &axum::Router, path: &str, headers: &[(&str, &str)]) -> (u16, http::HeaderMap, Value) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

fn detail() -> axum::Router {
    let gate = Porter::<detail::server::GateFailure>::new();
    detail::server::router(gate, detail::server::Services::all(Arc::new(Service)))
}

const READER: [(&str, &str); 1] = [("authorization", "Bearer items:read")];

#[tokio::test]
async fn detail_is_a_text_or_an_object() {
    let get = async |path: &str, headers: &[(&str, &str)]| get(&detail(), path, headers).await;
    let (status, headers, body) = get("/items/7", &READER).await;
    assert_eq!((status, body), (200, json!("item")));
    assert!(!headers.contains_key("retry-after"));
    let (status, headers, body) = get("/items/7", &[]).await;
    assert_eq!((status, body), (401, json!({"detail": "Authentication is required."})));
    assert_eq!(headers["www-authenticate"], "Bearer");
    assert_eq!(get("/items/0", &READER).await.2, json!({"detail": "Item not found"}));
    let (status, _, body) = get("/items/1", &READER).await;
    assert_eq!(
        (status, body),
        (429, json!({"detail": {"error": "quota_exceeded", "message": "Monthly quota exceeded"}}))
    );
    let (status, headers, _) = get("/items/2", &READER).await;
    assert_eq!((status, &headers["location"]), (302, &"/items/3".parse().expect("text")));
    let (status, _, body) = get("/items/7", &[("authorization", "Bearer other")]).await;
    let expected = json!({"detail": {
        "error": "INSUFFICIENT_SCOPE", "message": "The credential lacks the scope items:read.",
        "required_scope": "items:read", "granted_scopes": ["other"]
    }});
    assert_eq!((status, body), (403, expected));
    assert_eq!(get("/items/x", &READER).await.0, 404, "no 400 is documented");
    assert_eq!(get("/items/7/", &READER).await.2, json!({"detail": "There is nothing at this path."}));
    assert_eq!(get("/", &READER).await.0, 404);
}

#[tokio::test]
async fn a_wait_may_be_a_date() {
    let router = detail();
    for _ in 0..2 {
        assert_eq!(get(&router, "/items/7", &READER).await.0, 200);
    }
    assert_eq!(get(&router, "/items/7", &[]).await.0, 401, "authentication comes first here, and nothing is counted");
    let (status, headers, body) = get(&router, "/items/7", &READER).await;
    assert_eq!((status, body), (429, json!({"detail": "Too many requests. Try again in 9 seconds."})));
    assert_eq!(headers["retry-after"], "Sun, 06 Nov 1994 08:49:37 GMT");
}

#[tokio::test]
async fn messages_are_all_there_is() {
    let gate = Porter::<message::server::GateFailure>::new();
    let router = message::server::router(gate, message::server::Services::all(Arc::new(Service)));
    let id = "6f1c9a52-3a0e-4f57-9a44-2f0d5d1a7c10";
    let good = [("authorization", "Bearer x"), ("x-note", "ann")];
    assert_eq!(get(&router, &format!("/personas/{id}"), &good).await.2, json!({"name": "ann"}));
    let (status, headers, body) = get(&router, &format!("/personas/{id}"), &good).await;
    assert_eq!((status, body), (429, json!({"error": {"message": "Too many requests. Try again in 9 seconds."}})));
    assert_eq!(headers["retry-after"], "9");

    let fresh = || {
        let gate = Porter::<message::server::GateFailure>::new();
        message::server::router(gate, message::server::Services::all(Arc::new(Service)))
    };
    let (status, _, body) = get(&fresh(), "/personas/nope", &good).await;
    assert_eq!(
        (status, body),
        (400, json!({"error": {"message": "The path parameter \"persona_id\" must be a UUID."}}))
    );
    let (status, _, body) = get(&fresh(), &format!("/personas/{id}"), &good[..1]).await;
    assert_eq!((status, body), (400, json!({"error": {"message": "The header parameter \"x-note\" is required."}})));
    let (status, headers, body) = get(&fresh(), "/nothing", &[]).await;
    assert_eq!((status, body), (404, json!({"error": {"message": "There is nothing at this path."}})));
    assert!(headers.contains_key("x-request-id") && !headers.contains_key("retry-after"));
}
