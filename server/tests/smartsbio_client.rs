//! The documented SDK's table of errors and its retry policy, as the generated client has them, against a server that
//! fails on purpose.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use contract_smartsbio::calls::{ListWorkspacesRequest, RunQueryError, RunQueryRequest};
use contract_smartsbio::client::{Client, Error};
use contract_smartsbio::types::QueryRequest;
use serde_json::{Value, json};

/// What to answer, in turn; the last one stays. Status, `Retry-After`, body.
type Script = Vec<(u16, Option<&'static str>, String)>;

#[derive(Default)]
struct Stage {
    script: Mutex<Script>,
    seen: Mutex<Vec<Instant>>,
}

async fn play(State(stage): State<Arc<Stage>>, _: Request) -> http::Response<Body> {
    stage.seen.lock().unwrap().push(Instant::now());
    let mut script = stage.script.lock().unwrap();
    let (status, wait, body) = if script.len() > 1 { script.remove(0) } else { script[0].clone() };
    let mut response = http::Response::builder().status(status).header("content-type", "application/json");
    if let Some(wait) = wait {
        response = response.header("retry-after", wait);
    }
    response.body(Body::from(body)).unwrap()
}

async fn stage(script: Script) -> (Arc<Stage>, Client) {
    let stage = Arc::new(Stage { script: Mutex::new(script), seen: Mutex::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(play).with_state(stage.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::new(&format!("http://{address}")).unwrap();
    (stage, client.bearer_key("sk_live_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap())
}

fn failure(code: &str, details: Value) -> String {
    json!({"status": "error", "error": code, "message": "It failed.", "details": details}).to_string()
}

fn query() -> RunQueryRequest {
    RunQueryRequest { body: QueryRequest { prompt: "Hello".into(), conversation_id: None, workspace_id: None } }
}

const GOOD: &str = r#"{"workspaces": []}"#;

#[tokio::test]
async fn every_status_has_the_documented_class() {
    let quota = json!({"quota": 5, "used": 5, "resets_at": "2025-02-01T00:00:00Z"});
    for (status, code, details, class) in [
        (401, "auth_required", json!({}), "Authentication"),
        (401, "key_revoked", json!({}), "Authentication"),
        (401, "key_expired", json!({}), "Authentication"),
        (403, "insufficient_scope", json!({"required_scope": "query", "key_scopes": []}), "PermissionDenied"),
        (403, "workspace_access_denied", json!({"workspace_id": "ws_x"}), "PermissionDenied"),
        (429, "rate_limit_exceeded", json!({}), "RateLimit"),
        (402, "quota_exceeded", quota, "Api"),
        (400, "validation_error", json!({}), "Api"),
        (400, "workspace_required", json!({"parameter": "workspace_id"}), "Api"),
        (404, "not_found", json!({}), "Api"),
        (500, "agent_error", json!({}), "Api"),
        (500, "internal_error", json!({}), "Api"),
    ] {
        let (_, client) = stage(vec![(status, None, failure(code, details))]).await;
        let error = client.max_retries(0).run_query(&query()).await.expect_err(code);
        let found = match &error {
            Error::Authentication(_) => "Authentication",
            Error::PermissionDenied(_) => "PermissionDenied",
            Error::RateLimit { .. } => "RateLimit",
            Error::Api(_) => "Api",
            Error::Unexpected(_) => "Unexpected",
            Error::Transport(_) => "Transport",
        };
        assert_eq!((found, error.status()), (class, Some(status)), "{code}: {error:?}");
        assert_eq!(error.to_string(), format!("{status} {code}: It failed."));
    }
    let (_, client) = stage(vec![(
        402,
        None,
        failure("quota_exceeded", json!({"quota": 1, "used": 1, "resets_at": "2025-02-01T00:00:00Z"})),
    )])
    .await;
    let error = client.run_query(&query()).await.expect_err("402");
    assert!(
        matches!(error.failed().map(|failed| &failed.error), Some(RunQueryError::QuotaExceeded(problem)) if problem.details.quota == 1),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_limit_carries_its_wait_and_is_waited_for() {
    let limited = failure("rate_limit_exceeded", json!({}));
    let (_, client) = stage(vec![(429, Some("42"), limited.clone())]).await;
    match client.max_retries(0).list_workspaces(&ListWorkspacesRequest {}).await {
        Err(Error::RateLimit { retry_after, .. }) => assert_eq!(retry_after, Some(Duration::from_secs(42))),
        other => panic!("{other:?}"),
    }
    let (stage, client) = stage(vec![(429, Some("1"), limited), (200, None, GOOD.into())]).await;
    assert!(client.list_workspaces(&ListWorkspacesRequest {}).await.is_ok());
    let seen = stage.seen.lock().unwrap().clone();
    // A lower bound only: it waits as long as it was told, however slow the machine.
    assert!(seen.len() == 2 && seen[1] - seen[0] >= Duration::from_secs(1), "{seen:?}");
}

#[tokio::test]
async fn it_tries_three_times_more_where_that_is_safe_and_never_elsewhere() {
    let list = ListWorkspacesRequest {};
    for status in [500, 502, 503, 504] {
        let (stage, client) = stage(vec![(status, None, failure("internal_error", json!({})))]).await;
        let error = client.list_workspaces(&list).await.expect_err("always");
        assert_eq!((error.status(), stage.seen.lock().unwrap().len()), (Some(status), 4), "{error:?}");
    }
    let gateway = "<html>bad gateway</html>".to_owned();
    let (played, client) =
        stage(vec![(502, None, gateway), (503, None, String::new()), (200, None, GOOD.into())]).await;
    assert!(client.list_workspaces(&list).await.is_ok(), "a gateway need not speak the dialect");
    assert_eq!(played.seen.lock().unwrap().len(), 3);
    for (status, code) in [
        (400, "validation_error"),
        (401, "key_expired"),
        (402, "quota_exceeded"),
        (403, "insufficient_scope"),
        (404, "not_found"),
    ] {
        let (stage, client) = stage(vec![(status, None, failure(code, json!({})))]).await;
        assert!(client.run_query(&query()).await.is_err());
        assert_eq!(stage.seen.lock().unwrap().len(), 1, "{code}");
    }
    let (played, client) = stage(vec![(500, None, failure("agent_error", json!({})))]).await;
    assert!(client.max_retries(1).run_query(&query()).await.is_err());
    assert_eq!(played.seen.lock().unwrap().len(), 2, "max_retries");
}
