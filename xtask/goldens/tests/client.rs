//! The generated client against a server that answers as it is told: over TCP, because that is what it is for.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use futures::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use trueline_goldens::kitchen::calls::*;
use trueline_goldens::kitchen::client::{Client, Error, RateLimit, Reset, TransportError};
use trueline_goldens::kitchen::types;
use trueline_runtime::multipart::Upload;
use uuid::Uuid;

/// What to answer, in turn; the last one stays.
type Script = Vec<(u16, Vec<(&'static str, String)>, String)>;

#[derive(Default)]
struct Stage {
    script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Debug, Clone)]
struct Seen {
    line: String,
    headers: http::HeaderMap,
    body: String,
}

async fn play(State(stage): State<Arc<Stage>>, request: Request) -> http::Response<Body> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8_lossy(&body.collect().await.expect("a body").to_bytes()).into_owned();
    let seen = Seen { line: format!("{} {}", parts.method, parts.uri), headers: parts.headers, body };
    stage.seen.lock().expect("not poisoned").push(seen);
    let mut script = stage.script.lock().expect("not poisoned");
    let (status, headers, body) = if script.len() > 1 { script.remove(0) } else { script[0].clone() };
    let mut response = http::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).expect("a response")
}

struct Scene {
    stage: Arc<Stage>,
    client: Client,
}

async fn scene(script: Script) -> Scene {
    let stage = Arc::new(Stage { script: Mutex::new(script), seen: Mutex::default() });
    let router = axum::Router::new().fallback(play).with_state(stage.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    Scene { stage, client: Client::new(&format!("http://{address}/base/")).expect("a client") }
}

impl Scene {
    fn seen(&self) -> Vec<Seen> {
        self.stage.seen.lock().expect("not poisoned").clone()
    }
}

const THING: &str = "6f1c9a52-3a0e-4f57-9a44-2f0d5d1a7c10";

fn thing() -> Value {
    json!({"id": THING, "name": "pot", "kind": "big", "madeAt": "2024-01-15T10:30:00Z", "parent": null})
}

fn get() -> GetThingRequest {
    GetThingRequest { thing_id: THING.parse().expect("a UUID") }
}

fn failure(code: &str, details: Value) -> String {
    json!({"status": "error", "error": code, "message": format!("It is {code}."), "details": details}).to_string()
}

fn headers() -> Vec<(&'static str, String)> {
    [("x-limit", "10"), ("x-remaining", "3"), ("x-reset", "42"), ("x-trace", "t-1")]
        .map(|(name, value)| (name, value.to_owned()))
        .into()
}

#[tokio::test]
async fn a_good_answer_is_typed_and_tells_the_standing() {
    let scene = scene(vec![(200, headers(), thing().to_string())]).await;
    let client = scene.client.clone().bearer("hush").expect("a token").key("k").expect("a key");
    let answer = client.get_thing(&get()).await.expect("good");
    assert_eq!((answer.status, answer.name.as_str(), answer.kind), (200, "pot", types::Kind::Big));
    assert_eq!(answer.rate_limit, RateLimit { limit: Some(10), remaining: Some(3), reset: Some(Reset::In(42)) });
    assert_eq!(answer.request_id.as_deref(), Some("t-1"));
    let seen = &scene.seen()[0];
    assert_eq!(seen.line, format!("GET /base/things/{THING}/"));
    assert_eq!(seen.headers["authorization"], "Bearer hush");
    assert_eq!(seen.headers["x-key"], "k");
    assert!(!seen.headers.contains_key("api-version"));
    assert!(!format!("{client:?}").contains("hush"), "{client:?}");
}

#[tokio::test]
async fn parameters_of_every_style_are_sent() {
    let scene = scene(vec![(200, vec![("x-total", "1".to_owned())], json!([thing()]).to_string())]).await;
    let request = ListThingsRequest {
        limit: 7,
        tag: Some(vec!["a b".into(), "c&d".into()]),
        ids: Some(vec![1, 2]),
        kind: Some(types::Kind::InBetween),
        filter: Some(types::ListThingsFilter { min: Some(3), name: None }),
        x_region: Some(types::ListThingsXRegion::Eu),
        session: Some("abc".into()),
    };
    let answer = scene.client.list_things(&request).await.expect("good");
    assert_eq!((answer.x_total, answer.body.len()), (1, 1));
    let seen = &scene.seen()[0];
    assert_eq!(seen.line, "GET /base/things/?limit=7&tag=a%20b&tag=c%26d&ids=1,2&kind=in-between&filter%5Bmin%5D=3");
    assert_eq!(
        (&seen.headers["x-region"], &seen.headers["cookie"]),
        (&"eu".parse().expect("text"), &"session=abc".parse().expect("text"))
    );
}

fn create() -> CreateThingRequest {
    let shape = types::Circle { radius: 2.0 }.into();
    let body = types::ThingCreate {
        name: "pot".into(),
        kind: types::Kind::Big,
        count: None,
        weight: None,
        due: None,
        owner: None,
        tags: None,
        shape,
    };
    CreateThingRequest { body }
}

#[tokio::test]
async fn several_successes_are_told_apart_by_status() {
    let location = vec![("location", "/things/1/".to_owned())];
    let scene = scene(vec![
        (201, location, thing().to_string()),
        (202, vec![], r#"{"ticket":"t"}"#.into()),
        (201, vec![], thing().to_string()),
    ])
    .await;
    match scene.client.create_thing(&create()).await.expect("good").value {
        CreateThingResponse::Created(made) => {
            assert_eq!((made.location.as_str(), made.x_note, made.body.name.as_str()), ("/things/1/", None, "pot"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.seen()[0].body, r#"{"name":"pot","kind":"big","shape":{"form":"circle","radius":2.0}}"#);
    assert!(
        matches!(scene.client.create_thing(&create()).await.expect("good").value, CreateThingResponse::Accepted(body) if body.ticket == "t")
    );
    let Err(Error::Unexpected(unexpected)) = scene.client.create_thing(&create()).await else {
        panic!("the header is required")
    };
    assert!(
        unexpected.reason.contains("location") && unexpected.status == 201 && unexpected.body.starts_with(b"{"),
        "{unexpected}"
    );
}

#[tokio::test]
async fn failures_are_typed_by_the_documented_names() {
    let scene = scene(vec![
        (404, headers(), failure("thing_not_found", json!({"thing_id": "x"}))),
        (401, headers(), failure("token_expired", json!({}))),
        (403, headers(), failure("wrong_kind", json!({}))),
    ])
    .await;
    let error = scene.client.get_thing(&get()).await.expect_err("404");
    let Error::NotFound(failed) = &error else { panic!("{error:?}") };
    let GetThingError::ThingNotFound(problem) = &failed.error else { panic!("{error:?}") };
    assert_eq!(
        (problem.details.thing_id.as_str(), failed.rate_limit.remaining, error.request_id()),
        ("x", Some(3), Some("t-1"))
    );
    assert_eq!(error.to_string(), "404 thing_not_found: It is thing_not_found.");
    assert!(
        matches!(scene.client.get_thing(&get()).await, Err(Error::Authentication(failed)) if matches!(failed.error, GetThingError::TokenExpired(_)))
    );
    assert!(matches!(scene.client.get_thing(&get()).await, Err(Error::Api(failed)) if failed.status == 403));
    assert_eq!(scene.seen().len(), 3, "none of these is tried again");
}

#[tokio::test]
async fn limits_carry_the_wait() {
    let limited = failure("rate_limited", json!({"seconds": 17, "limit": 10, "window": "minute"}));
    let mut with_header = headers();
    with_header.push(("retry-after", "5".to_owned()));
    let scene = scene(vec![(429, headers(), limited.clone()), (429, with_header, limited)]).await;
    let client = scene.client.clone().max_retries(0);
    for seconds in [17, 5] {
        match client.get_thing(&get()).await {
            Err(Error::RateLimit { retry_after, failed }) => {
                assert_eq!(retry_after, Some(std::time::Duration::from_secs(seconds)));
                assert!(matches!(failed.error, GetThingError::RateLimited(_)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_unexpected_answer_is_kept_whole() {
    let scene = scene(vec![
        (502, vec![("server", "proxy".to_owned())], "<html>bad gateway</html>".into()),
        (200, vec![], "{\"id\":1}".into()),
        (418, vec![], failure("teapot", json!({}))),
        (404, vec![], failure("not_found", json!({}))),
        (204, vec![], String::new()),
    ])
    .await;
    for (status, body) in [(502, "<html>"), (200, "{\"id\""), (418, "{\"status\""), (404, "{\"status\""), (204, "")] {
        let error = scene.client.clone().max_retries(0).get_thing(&get()).await.expect_err("unexpected");
        assert_eq!(error.status(), Some(status));
        let Error::Unexpected(unexpected) = error else { panic!("{status}") };
        assert!(unexpected.body.starts_with(body.as_bytes()), "{unexpected:?}");
    }
}

#[tokio::test]
async fn it_tries_again_by_the_contracts_policy() {
    let failed = failure("internal_error", json!({}));
    let scene =
        scene(vec![(500, vec![], failed.clone()), (500, vec![], failed), (200, vec![], thing().to_string())]).await;
    assert!(scene.client.get_thing(&get()).await.is_ok(), "the third time");
    assert_eq!(scene.seen().len(), 3);
}

#[tokio::test]
async fn nobody_there_is_an_error_of_its_own() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let client = Client::new(&format!("http://{address}")).expect("a client").max_retries(0);
    let error = client.get_thing(&get()).await.expect_err("nobody");
    assert!(matches!(&error, Error::Transport(error @ TransportError::Exchange(_)) if error.is_unsent()), "{error:?}");
    assert!(Client::new("not a url").is_err());
}

#[tokio::test]
async fn forms_files_bytes_and_events() {
    let scene = scene(vec![
        (202, vec![], thing().to_string()),
        (200, vec![], r#"{"user":"a"}"#.into()),
        (200, vec![], "bytes".into()),
        (
            200,
            vec![],
            "data: {\"n\":1}\n\n: beat\n\ndata: {\"n\":2}\n\ndata: {\"n\":\"x\"}\n\ndata: {\"n\":3}\n\n".into(),
        ),
        (200, vec![], "hello".into()),
    ])
    .await;
    let body = UploadFileBody {
        file: Upload::from_bytes("content").named("a.pdf").of_type("application/pdf"),
        extras: vec![Upload::from_bytes("one")],
        title: "A title".into(),
        pages: Some(3),
        tags: Some(vec!["a".into(), "b".into()]),
        meta: Some(types::UploadFileMeta { a: Some(1) }),
    };
    let answer = scene.client.upload_file(&UploadFileRequest { id: Uuid::nil(), body }).await.expect("good");
    assert_eq!(answer.status, 202);
    let sent = scene.seen()[0].body.clone();
    for piece in
        ["name=\"file\"; filename=\"a.pdf\"", "application/pdf", "content", "name=\"tags\"", "{\"a\":1}", "A title"]
    {
        assert!(sent.contains(piece), "{piece} in {sent}");
    }
    let login = types::Login {
        user: "a b".into(),
        password: "p&q".into(),
        days: 1,
        remember: None,
        roles: Some(vec!["x".into(), "y".into()]),
    };
    scene.client.log_in(&LogInRequest { body: login }).await.expect("good");
    assert_eq!(scene.seen()[1].body, "user=a%20b&password=p%26q&days=1&roles=x&roles=y");
    let answer = scene.client.echo(&EchoRequest { body: None }).await.expect("good");
    assert_eq!((&answer.value[..], scene.seen()[2].body.as_str()), (&b"bytes"[..], ""));
    let events = scene.client.watch(&WatchRequest {}).await.expect("good").value;
    let numbers: Vec<i64> = events.0.map(|event| event.data.n).collect().await;
    assert_eq!(numbers, [1, 2], "an event that is not what is documented ends the stream");
    assert_eq!(scene.client.greet(&GreetRequest {}).await.expect("good").value, "hello");
}
