//! The generated route beside a hand-written axum handler that does the same steps: parse, validate, authenticate,
//! limit, answer. First in process, where nothing but the route is measured, then over TCP, as it is used.
//!
//! `cargo run --release -p trueline-goldens --example route`

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::json;
use tower::ServiceExt;
use trueline_goldens::kitchen::operations::schemes;
use trueline_goldens::kitchen::server::*;
use trueline_goldens::kitchen::types;
use trueline_runtime::contract::{Per, RateClass};
use trueline_runtime::gate::{Call, Gate, Identity, Standing};
use trueline_runtime::sse::Events;
use uuid::Uuid;

/// What both sides share: the limiter, and the thing that they answer.
#[derive(Default)]
struct Limiter(Mutex<HashMap<String, u64>>);

impl Limiter {
    fn count(&self, class: &str, counter: &str) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match counts.get_mut(counter) {
            Some(count) => {
                *count += 1;
                *count
            }
            None => *counts.entry(format!("{class}{counter}")).or_insert(1),
        }
    }
}

fn thing(name: String) -> types::Thing {
    types::Thing {
        id: Uuid::from_u128(7),
        name,
        kind: types::Kind::Big,
        made_at: chrono::DateTime::UNIX_EPOCH,
        parent: None,
        secret_word: None,
    }
}

struct Generated(Limiter);

impl Gate for Generated {
    type Principal = String;
    type Failure = GateFailure;
    async fn identify(&self, call: Call<'_>) -> Result<Option<Identity<String>>, GateFailure> {
        Ok(call.bearer().map(|token| Identity::new(token.to_owned(), schemes::BEARER)))
    }
    fn counter<'a>(&'a self, _: Per, identity: &'a Identity<String>) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(&identity.principal))
    }
    async fn count(&self, class: &'static RateClass, counter: &str) -> Standing {
        let used = self.0.count(class.name, counter);
        Standing {
            allowed: true,
            limit: class.limit,
            remaining: class.limit.saturating_sub(used),
            reset_unix: 0,
            wait_seconds: 9,
        }
    }
}

struct Service;

impl Things for Service {
    type Principal = String;
    async fn list_things(&self, _: &String, _: ListThingsRequest) -> Result<ListThingsResponse, ListThingsError> {
        let body = (0..20).map(|n| thing(format!("thing {n}"))).collect();
        Ok(ListThingsResponse::Ok(ListThingsOk { body, x_total: 20 }))
    }
    async fn create_thing(
        &self,
        _: &String,
        request: CreateThingRequest,
    ) -> Result<CreateThingResponse, CreateThingError> {
        let location = trueline_runtime::HeaderText::from_static("/things/7/");
        Ok(CreateThingResponse::Created(CreateThingCreated { body: thing(request.body.name), location, x_note: None }))
    }
    async fn get_thing(&self, _: &String, _: GetThingRequest) -> Result<GetThingResponse, GetThingError> {
        Ok(GetThingResponse::Ok(thing("pot".to_owned())))
    }
    async fn delete_thing(&self, _: &String, _: DeleteThingRequest) -> Result<DeleteThingResponse, DeleteThingError> {
        Ok(DeleteThingResponse::NoContent)
    }
    async fn update_thing(&self, _: &String, _: UpdateThingRequest) -> Result<UpdateThingResponse, UpdateThingError> {
        Ok(UpdateThingResponse::Ok(thing("pot".to_owned())))
    }
    async fn upload_file(&self, _: &String, _: UploadFileRequest) -> Result<UploadFileResponse, UploadFileError> {
        Ok(UploadFileResponse::Accepted(thing("pot".to_owned())))
    }
}

impl OddBits for Service {
    type Principal = String;
    async fn greet(&self, _: Option<&String>, _: GreetRequest) -> Result<GreetResponse, GreetError> {
        Ok(GreetResponse::Ok(String::new()))
    }
    async fn log_in(&self, _: LogInRequest) -> Result<LogInResponse, LogInError> {
        Ok(LogInResponse::Ok(Default::default()))
    }
    async fn echo(&self, _: EchoRequest) -> Result<EchoResponse, EchoError> {
        Ok(EchoResponse::Ok(Default::default()))
    }
    async fn watch(&self, _: WatchRequest) -> Result<WatchResponse, WatchError> {
        Ok(WatchResponse::Ok(Events::new(futures::stream::empty())))
    }
}

type Hand = Arc<Limiter>;

/// Authenticates and counts, as every handler below does first.
// A refusal is the answer itself, as one writes it by hand.
#[allow(clippy::result_large_err)]
fn admit(limiter: &Limiter, headers: &HeaderMap, class: &str) -> Result<u64, Response> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(token) = token else { return Err(StatusCode::UNAUTHORIZED.into_response()) };
    Ok(1000_u64.saturating_sub(limiter.count(class, token)))
}

fn dress(mut response: Response, remaining: u64) -> Response {
    let headers = response.headers_mut();
    headers.insert("x-limit", HeaderValue::from(1000));
    headers.insert("x-remaining", HeaderValue::from(remaining));
    headers.insert("x-reset", HeaderValue::from(9));
    if let Ok(id) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        headers.insert("x-trace", id);
    }
    response
}

#[derive(Deserialize)]
struct Query {
    limit: Option<i32>,
}

async fn list(State(limiter): State<Hand>, headers: HeaderMap, query: axum::extract::RawQuery) -> Response {
    let remaining = match admit(&limiter, &headers, "user") {
        Ok(remaining) => remaining,
        Err(response) => return response,
    };
    let mut read = Query { limit: None };
    for pair in query.0.as_deref().unwrap_or_default().split('&') {
        if let Some(("limit", value)) = pair.split_once('=') {
            match value.parse::<i32>() {
                Ok(limit) if (1..=50).contains(&limit) => read.limit = Some(limit),
                _ => return StatusCode::BAD_REQUEST.into_response(),
            }
        }
    }
    let _ = read.limit.unwrap_or(20);
    let body: Vec<_> = (0..20).map(|n| thing(format!("thing {n}"))).collect();
    let mut response = axum::Json(body).into_response();
    response.headers_mut().insert("x-total", HeaderValue::from(20));
    dress(response, remaining)
}

async fn get(State(limiter): State<Hand>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let remaining = match admit(&limiter, &headers, "user") {
        Ok(remaining) => remaining,
        Err(response) => return response,
    };
    limiter.count("thing", &id);
    if id.parse::<Uuid>().is_err() {
        return StatusCode::NOT_FOUND.into_response();
    }
    dress(axum::Json(thing("pot".to_owned())).into_response(), remaining)
}

async fn create(State(limiter): State<Hand>, headers: HeaderMap, body: bytes::Bytes) -> Response {
    let remaining = match admit(&limiter, &headers, "user") {
        Ok(remaining) => remaining,
        Err(response) => return response,
    };
    let Ok(read) = serde_json::from_slice::<types::ThingCreate>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let length = read.name.chars().count();
    let mut seen = std::collections::HashSet::new();
    let unique = read.tags.iter().flatten().all(|tag| seen.insert(tag));
    let good = (1..=10).contains(&length)
        && read.count.is_none_or(|count| count >= 0)
        && read.weight.is_none_or(|weight| weight > 0.0)
        && read.owner.as_ref().is_none_or(|owner| owner.contains('@'))
        && unique
        && match &read.shape {
            types::Shape::Circle(circle) => circle.radius >= 0.0,
            types::Shape::Box(sides) => sides.sides.len() == 3,
        };
    if !good {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let mut response = (StatusCode::CREATED, axum::Json(thing(read.name))).into_response();
    response.headers_mut().insert("location", HeaderValue::from_static("/things/7/"));
    dress(response, remaining)
}

async fn rate(router: &axum::Router, make: impl Fn() -> Request<Body>, span: Duration) -> f64 {
    let start = Instant::now();
    let mut done = 0_u64;
    while start.elapsed() < span {
        for _ in 0..100 {
            let Ok(response) = router.clone().oneshot(make()).await;
            assert!(response.status().is_success(), "{}", response.status());
            let _ = response.into_body().collect().await;
        }
        done += 100;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

/// Requests a second over four kept connections, each with one request at a time.
fn over_tcp(router: axum::Router, method: &str, path: &str, body: &str, span: Duration) -> std::io::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move { axum::serve(listener, router).await });
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ann\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let caller = || -> std::io::Result<u64> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (start, mut done, mut buffer) = (Instant::now(), 0, vec![0; 64 * 1024]);
        while start.elapsed() < span {
            stream.write_all(request.as_bytes())?;
            let mut filled = 0;
            loop {
                filled += stream.read(&mut buffer[filled..])?;
                let text = std::str::from_utf8(&buffer[..filled]).unwrap_or_default();
                let Some(head) = text.find("\r\n\r\n") else { continue };
                let length = text
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|rest| rest.split('\r').next()?.parse::<usize>().ok());
                if filled >= head + 4 + length.unwrap_or_default() {
                    break;
                }
            }
            done += 1;
        }
        Ok(done)
    };
    let done = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().filter_map(|caller| caller.join().ok()?.ok()).sum::<u64>()
    });
    runtime.shutdown_background();
    Ok(done as f64 / span.as_secs_f64())
}

fn main() -> std::io::Result<()> {
    let services = Services::all(Arc::new(Service));
    let generated = router(Arc::new(Generated(Limiter::default())), services);
    let by_hand = axum::Router::new()
        .route("/things/", axum::routing::get(list).post(create))
        .route("/things/{id}/", axum::routing::get(get))
        .with_state(Hand::default());
    let body = json!({"name": "pot", "kind": "big", "count": 3, "owner": "a@b.example", "tags": ["a", "b"], "shape": {"form": "circle", "radius": 2.5}}).to_string();
    let request = |method: &str, path: &str, body: &str| {
        let request = Request::builder().method(method).uri(path).header("authorization", "Bearer ann");
        request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap_or_default()
    };
    let cases = [
        ("GET one", "GET", "/things/00000000-0000-0000-0000-000000000007/", ""),
        ("GET list", "GET", "/things/?limit=20", ""),
        ("POST", "POST", "/things/", body.as_str()),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let span = Duration::from_millis(400);
    for (name, method, path, body) in cases {
        // In turn, so that a busy machine slows both.
        let (mut ours, mut theirs, mut ours_tcp, mut theirs_tcp) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..5 {
            let make = || request(method, path, body);
            ours += runtime.block_on(rate(&generated, make, span)) / 5.0;
            theirs += runtime.block_on(rate(&by_hand, make, span)) / 5.0;
            ours_tcp += over_tcp(generated.clone(), method, path, body, span)? / 5.0;
            theirs_tcp += over_tcp(by_hand.clone(), method, path, body, span)? / 5.0;
        }
        println!("{name}, in process: generated {ours:.0}/s, by hand {theirs:.0}/s, ratio {:.2}", ours / theirs);
        println!(
            "{name}, over TCP: generated {ours_tcp:.0}/s, by hand {theirs_tcp:.0}/s, ratio {:.2}",
            ours_tcp / theirs_tcp
        );
    }
    Ok(())
}
