//! The generated server at work: a small service behind the kitchen's traits, and everything a request can be refused
//! for, held to the dialect.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use trueline_goldens::kitchen::operations::{CONTRACT, schemes};
use trueline_goldens::kitchen::problems;
use trueline_goldens::kitchen::server::*;
use trueline_runtime::contract::{Per, RateClass};
use trueline_runtime::gate::{Call, Gate, Identity, Standing};
use trueline_runtime::{Patch, sse};
use uuid::Uuid;

const THING: &str = "6f1c9a52-3a0e-4f57-9a44-2f0d5d1a7c10";

struct Person(String);

/// `Bearer <name>[:<scope> …]`, `Bearer old` has expired; `X-Key: <name>[:<scope> …]`.
#[derive(Default)]
struct Doorman {
    counts: Mutex<HashMap<String, u64>>,
}

impl Gate for Doorman {
    type Principal = Person;
    type Failure = GateFailure;

    async fn identify(&self, call: Call<'_>) -> Result<Option<Identity<Person>>, GateFailure> {
        let mut identity: Option<Identity<Person>> = None;
        let bearer = call.bearer().map(|text| (text, schemes::BEARER));
        let key = call.header("x-key").map(|text| (text, schemes::KEY));
        for (text, scheme) in bearer.into_iter().chain(key) {
            let (name, scopes) = text.split_once(':').unwrap_or((text, ""));
            match name {
                "old" => return Err(problems::TokenExpired::because("Too old.").into()),
                "forbidden" => return Err(problems::ScopeMissing::new("No.", types(&[])).into()),
                "bad" => return Err(problems::Unauthenticated::because("Nobody's.").into()),
                _ => {}
            }
            let both = identity.as_ref().map_or(scheme, |other| other.schemes | scheme);
            let scopes: Arc<[String]> = scopes.split_whitespace().map(str::to_owned).collect();
            let known = Identity::new(Person(name.to_owned()), both);
            identity = Some(if scopes.is_empty() { known } else { known.with_scopes(scopes) });
        }
        Ok(identity)
    }

    fn counter<'a>(&'a self, _: Per, identity: &'a Identity<Person>) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(&identity.principal.0))
    }

    async fn count(&self, class: &'static RateClass, counter: &str) -> Standing {
        let mut counts = self.counts.lock().expect("not poisoned");
        let used = counts.entry(format!("{} {counter}", class.name)).or_default();
        *used += 1;
        Standing {
            allowed: *used <= class.limit,
            limit: class.limit,
            remaining: class.limit.saturating_sub(*used),
            reset_unix: 1_700_000_000,
            wait_seconds: 42,
        }
    }
}

fn types(granted: &[&str]) -> trueline_goldens::kitchen::types::ScopeDetails {
    trueline_goldens::kitchen::types::ScopeDetails {
        required_scope: "any".to_owned(),
        granted_scopes: granted.iter().map(|scope| (*scope).to_owned()).collect(),
    }
}

#[derive(Default)]
struct Kitchen {
    seen: Mutex<String>,
}

impl Kitchen {
    fn note(&self, request: &impl std::fmt::Debug) {
        *self.seen.lock().expect("not poisoned") = format!("{request:?}");
    }
}

fn thing() -> trueline_goldens::kitchen::types::Thing {
    trueline_goldens::kitchen::types::Thing {
        id: THING.parse().expect("a UUID"),
        name: "pot".to_owned(),
        kind: trueline_goldens::kitchen::types::Kind::InBetween,
        made_at: "2024-01-15T10:30:00.987Z".parse().expect("a moment"),
        parent: None,
        secret_word: Some("hush".to_owned()),
    }
}

impl Things for Kitchen {
    type Principal = Person;

    async fn list_things(
        &self,
        caller: &Person,
        request: ListThingsRequest,
    ) -> Result<ListThingsResponse, ListThingsError> {
        self.note(&(&caller.0, request));
        Ok(ListThingsResponse::Ok(ListThingsOk { body: vec![thing()], x_total: 1 }))
    }

    async fn create_thing(
        &self,
        _: &Person,
        request: CreateThingRequest,
    ) -> Result<CreateThingResponse, CreateThingError> {
        match request.body.name.as_str() {
            "taken" => return Err(problems::ThingTaken::because("There is one.").into()),
            "panic" => panic!("the pot boiled over"),
            "later" => {
                let body = trueline_goldens::kitchen::types::CreateThingAcceptedBody { ticket: "t1".to_owned() };
                return Ok(CreateThingResponse::Accepted(body));
            }
            _ => {}
        }
        self.note(&request);
        let location = format!("/things/{THING}/").try_into().expect("a header");
        Ok(CreateThingResponse::Created(CreateThingCreated { body: thing(), location, x_note: None }))
    }

    async fn get_thing(&self, caller: &Person, request: GetThingRequest) -> Result<GetThingResponse, GetThingError> {
        self.note(&caller.0);
        if request.thing_id.to_string() == THING {
            return Ok(GetThingResponse::Ok(thing()));
        }
        let details = trueline_goldens::kitchen::types::ThingDetails { thing_id: request.thing_id.to_string() };
        Err(problems::ThingNotFound::new("No such thing.", details).into())
    }

    async fn delete_thing(&self, _: &Person, _: DeleteThingRequest) -> Result<DeleteThingResponse, DeleteThingError> {
        Ok(DeleteThingResponse::NoContent)
    }

    async fn update_thing(
        &self,
        _: &Person,
        request: UpdateThingRequest,
    ) -> Result<UpdateThingResponse, UpdateThingError> {
        self.note(&request.body);
        let parent = match request.body.parent {
            Patch::Absent | Patch::Null => None,
            Patch::Value(parent) => Some(parent),
        };
        Ok(UpdateThingResponse::Ok(trueline_goldens::kitchen::types::Thing { parent, ..thing() }))
    }

    async fn upload_file(&self, _: &Person, request: UploadFileRequest) -> Result<UploadFileResponse, UploadFileError> {
        let content = request.body.file.bytes().await.map_err(|_| problems::InternalError::because("Unreadable."))?;
        let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
        self.note(&(request.body, sum));
        Ok(UploadFileResponse::Accepted(thing()))
    }
}

impl OddBits for Kitchen {
    type Principal = Person;

    async fn greet(&self, caller: Option<&Person>, _: GreetRequest) -> Result<GreetResponse, GreetError> {
        Ok(GreetResponse::Ok(format!("hello {}", caller.map_or("stranger", |person| &person.0))))
    }

    async fn log_in(&self, request: LogInRequest) -> Result<LogInResponse, LogInError> {
        self.note(&request.body);
        Ok(LogInResponse::Ok([("user".to_owned(), request.body.user)].into()))
    }

    async fn echo(&self, request: EchoRequest) -> Result<EchoResponse, EchoError> {
        Ok(EchoResponse::Ok(request.body.unwrap_or_default()))
    }

    async fn watch(&self, _: WatchRequest) -> Result<WatchResponse, WatchError> {
        let events = (1..=3).map(|n| sse::Event::data(trueline_goldens::kitchen::types::WatchOkBody { n }));
        Ok(WatchResponse::Ok(sse::Events::new(futures::stream::iter(events))))
    }
}

struct Server {
    router: axum::Router,
    kitchen: Arc<Kitchen>,
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Status, code and details, after the envelope itself was held to its schema.
    #[track_caller]
    fn failure(&self) -> (u16, String, Value) {
        let body = self.json();
        let schema = json!({
            "type": "object", "required": ["status", "error", "message", "details"], "additionalProperties": false,
            "properties": {
                "status": {"const": "error"}, "error": {"type": "string"}, "message": {"type": "string", "minLength": 1},
                "details": {"type": "object"},
                "errors": {"type": "array", "minItems": 1, "items": {
                    "type": "object", "required": ["field", "message", "code"], "additionalProperties": false,
                    "properties": {"field": {"minLength": 1}, "message": {"minLength": 1}, "code": {"minLength": 1}}
                }}
            }
        });
        assert!(jsonschema::is_valid(&schema, &body), "{body}");
        assert_eq!(self.header("content-type"), "application/json");
        for header in ["x-limit", "x-remaining", "x-reset", "x-trace"] {
            assert!(!self.header(header).is_empty(), "{header} is missing on {body}");
        }
        (self.status, body["error"].as_str().expect("a code").to_owned(), body["details"].clone())
    }
}

impl Server {
    fn new() -> Self {
        let kitchen = Arc::new(Kitchen::default());
        Server { router: router(Arc::new(Doorman::default()), Services::all(kitchen.clone())), kitchen }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("a request")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[("authorization", "Bearer ann")], "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("authorization", "Bearer ann"), ("content-type", "application/json")];
        self.call("POST", path, &headers, body.to_string()).await
    }

    fn seen(&self) -> String {
        self.kitchen.seen.lock().expect("not poisoned").clone()
    }
}

fn pot() -> Value {
    json!({"name": "pot", "shape": {"form": "circle", "radius": 2}})
}

#[tokio::test]
async fn good_requests_reach_the_handler() {
    let server = Server::new();
    let path = "/things/?limit=7&tag=ab&tag=cd&ids=1,2&kind=in-between&filter[min]=3&filter[name]=x%20y";
    let headers = [("authorization", "bEaReR ann"), ("X-Region", "eu"), ("cookie", "a=b; session=abc")];
    let answer = server.call("GET", path, &headers, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("x-total"), "1");
    assert_eq!(answer.json()[0]["madeAt"], "2024-01-15T10:30:00Z", "seconds and Z");
    assert_eq!(answer.json()[0]["parent"], Value::Null, "required and null");
    let seen = server.seen();
    for piece in [
        "limit: 7",
        r#"tag: Some(["ab", "cd"])"#,
        "ids: Some([1, 2])",
        "InBetween",
        "min: Some(3)",
        r#"Some("x y")"#,
        "Eu",
        r#"Some("abc")"#,
    ] {
        assert!(seen.contains(piece), "{piece} in {seen}");
    }
    assert!(server.get("/things/").await.status == 200 && server.seen().contains("limit: 20"), "the default");

    let answer = server
        .post(
            "/things/",
            &json!({"name": "pot", "count": 3.0, "unknown": 1, "shape": {"form": "box", "sides": [1, 2, 3]}}),
        )
        .await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (201, format!("/things/{THING}/").as_str()),
        "{}",
        answer.text
    );
    assert!(
        server.seen().contains("Box(") && server.seen().contains("count: Some(3)") && server.seen().contains("Small"),
        "{}",
        server.seen()
    );
    let answer = server.post("/things/", &json!({"name": "later", "shape": {"form": "circle", "radius": 0}})).await;
    assert_eq!((answer.status, answer.json()), (202, json!({"ticket": "t1"})));

    let delete = [("authorization", "Bearer ann"), ("x-key", "ann")];
    let answer = server.call("DELETE", &format!("/things/{THING}/"), &delete, "a body that nobody reads").await;
    assert_eq!((answer.status, answer.text.as_str(), answer.header("content-type")), (204, "", ""));
}

#[tokio::test]
async fn a_patch_tells_absent_from_null() {
    let server = Server::new();
    let path = format!("/things/{THING}/");
    let headers = [("authorization", "Bearer ann"), ("content-type", "application/json; charset=\"UTF-8\"")];
    for (body, expected) in [
        (json!({"name": "a"}), "parent: Absent, due: Absent"),
        (json!({"parent": null, "due": null}), "parent: Null, due: Null"),
        (json!({"parent": THING, "due": "2024-01-01T00:00:00+02:00"}), "due: Value(2023-12-31T22:00:00Z)"),
    ] {
        let answer = server.call("PATCH", &path, &headers, body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(server.seen().contains(expected), "{} in {}", expected, server.seen());
    }
}

#[tokio::test]
async fn every_violation_is_reported() {
    let server = Server::new();
    let answer = server.post("/things/", &json!({"name": "", "count": -1, "owner": "x", "tags": ["a", "a"], "shape": {"form": "box", "sides": ["x", 2]}})).await;
    let (status, code, details) = answer.failure();
    assert_eq!((status, code.as_str()), (400, "validation_error"));
    assert_eq!(
        details,
        json!({
            "name": ["must not be empty"],
            "count": ["must be at least 0"],
            "owner": ["must be an email address"],
            "tags": ["must not have the same item twice"],
            "shape.sides": ["must have at least 3 items"],
            "shape.sides.0": ["must be a number"],
        })
    );
    assert_eq!(answer.json()["errors"].as_array().map(Vec::len), Some(6));

    let answer = server.get("/things/?limit=0&tag=a&kind=huge&ids=x&filter[min]=y").await;
    let (_, code, details) = answer.failure();
    let names: Vec<_> = details.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(
        (code.as_str(), names),
        ("validation_error", ["limit", "tag.0", "ids.0", "kind", "filter.min"].map(str::to_owned).to_vec())
    );
}

#[tokio::test]
async fn one_violation_is_named() {
    let server = Server::new();
    let body = |key: &str, value: Value| {
        let mut body = pot();
        body[key] = value;
        body
    };
    let mut missing = pot();
    missing.as_object_mut().expect("an object").remove("name");
    let cases = [
        (missing, "missing_field", json!({"field": "name", "reason": "is required"})),
        (
            json!({"name": "a", "shape": {"form": "circle"}}),
            "missing_field",
            json!({"field": "shape.radius", "reason": "is required"}),
        ),
        (
            json!({"name": "a", "shape": {"radius": 1}}),
            "missing_field",
            json!({"field": "shape.form", "reason": "is required"}),
        ),
        (
            json!({"name": "a", "shape": {"form": "star"}}),
            "invalid_field",
            json!({"field": "shape.form", "reason": "must be one of circle, box"}),
        ),
        (
            body("name", json!("x".repeat(11))),
            "invalid_field",
            json!({"field": "name", "reason": "must have at most 10 characters"}),
        ),
        (body("count", json!(1.5)), "invalid_field", json!({"field": "count", "reason": "must be an integer"})),
        (
            body("count", json!(1e300)),
            "invalid_field",
            json!({"field": "count", "reason": "must be at most 9223372036854775807"}),
        ),
        (body("weight", json!(0)), "invalid_field", json!({"field": "weight", "reason": "must be more than 0"})),
        (
            body("kind", json!("huge")),
            "invalid_field",
            json!({"field": "kind", "reason": "must be one of big, small, in-between"}),
        ),
        (
            body("due", json!("2024-02-30")),
            "invalid_field",
            json!({"field": "due", "reason": "must be a date such as 2024-01-15"}),
        ),
        (body("name", Value::Null), "invalid_field", json!({"field": "name", "reason": "must be a string"})),
    ];
    for (body, code, details) in cases {
        let answer = server.post("/things/", &body).await;
        assert_eq!(answer.failure(), (400, code.to_owned(), details), "{body}");
    }
    for (path, reason) in [
        ("/things/?limit=51", "must be at most 50"),
        ("/things/?limit=", "must be an integer"),
        ("/things/?limit=+1", "must be an integer"),
        ("/things/?limit=1e1", "must be an integer"),
        ("/things/?limit=1&limit=2", "must not be repeated"),
        ("/things/?kind=%ff", "must be UTF-8"),
        ("/things/?tag=aa&tag=bb&tag=cc&tag=dd", "must have at most 3 items"),
    ] {
        let (status, code, details) = server.get(path).await.failure();
        assert_eq!((status, code.as_str(), details["reason"].as_str()), (400, "invalid_field", Some(reason)), "{path}");
    }
    let headers = [("authorization", "Bearer ann"), ("x-region", "mars")];
    let (_, code, details) = server.call("GET", "/things/", &headers, "").await.failure();
    assert_eq!(
        (code.as_str(), details),
        ("invalid_field", json!({"field": "x-region", "reason": "must be one of eu, us"}))
    );
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let server = Server::new();
    let json = ("content-type", "application/json");
    let auth = ("authorization", "Bearer ann");
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(2000), "]".repeat(2000));
    for body in ["", "{", "{\"name\":1,\"name\":2}", "{} x", "nope", "\u{feff}{}", &deep, "[]", "null", "7"] {
        let answer = server.call("POST", "/things/", &[auth, json], body.to_owned()).await;
        let (status, code, _) = answer.failure();
        assert_eq!((status, code.as_str()), (400, "malformed"), "{body:.40}");
    }
    let answer = server.call("POST", "/things/", &[auth, json], vec![b'"', 0xff, b'"']).await;
    assert_eq!(answer.failure().1, "malformed");
    for content_type in [
        "text/plain",
        "application/xml",
        "application/vnd.api+json",
        "application/json; charset=utf-16",
        "nonsense",
        "",
    ] {
        let answer = server.call("POST", "/things/", &[auth, ("content-type", content_type)], pot().to_string()).await;
        assert_eq!((answer.failure().0, answer.failure().1.as_str()), (415, "unsupported"), "{content_type}");
    }
    assert_eq!(
        server.call("POST", "/things/", &[auth], pot().to_string()).await.failure().1,
        "unsupported",
        "no type at all"
    );
    assert_eq!(server.call("POST", "/things/", &[auth], "").await.failure().1, "malformed", "no body at all");
    let good = server
        .call("POST", "/things/", &[auth, ("content-type", "Application/JSON ; charset=us-ascii")], pot().to_string())
        .await;
    assert_eq!(good.status, 201);

    let large = json!({"name": "a", "tags": ["x".repeat(5000)]}).to_string();
    let answer = server.call("POST", "/things/", &[auth, json], large.clone()).await;
    assert_eq!(answer.failure(), (413, "too_large".to_owned(), json!({"max_bytes": 4096})));
    let pieces = futures::stream::iter(
        large.into_bytes().chunks(100).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>(),
    );
    let answer = server.call("POST", "/things/", &[auth, json], Body::from_stream(pieces)).await;
    assert_eq!(answer.failure().0, 413, "without a declared length");
    let broken = futures::stream::iter([Ok(b"{".to_vec()), Err(std::io::Error::other("cut"))]);
    let answer = server.call("POST", "/things/", &[auth, json], Body::from_stream(broken)).await;
    assert_eq!(answer.failure().1, "malformed");
}

#[tokio::test]
async fn credentials_are_judged_in_the_contracts_order() {
    let server = Server::new();
    let path = format!("/things/{THING}/");
    let bad_body = [("content-type", "application/json")];
    assert_eq!(
        server.call("POST", "/things/", &bad_body, "{").await.failure().1,
        "unauthenticated",
        "before validation"
    );
    let unknown = format!("/things/{}/", Uuid::nil());
    assert_eq!(server.call("GET", &unknown, &[], "").await.failure().1, "unauthenticated", "before the search");
    let with = |token: &'static str| [("authorization", token)];
    for (token, status, code) in [
        ("Bearer old", 401, "token_expired"),
        ("Bearer bad", 401, "unauthenticated"),
        ("Bearer", 401, "unauthenticated"),
        ("Basic ann", 401, "unauthenticated"),
        ("Bearer ann", 200, ""),
    ] {
        let answer = server.call("GET", &path, &with(token), "").await;
        assert_eq!(answer.status, status, "{token}");
        if status != 200 {
            assert_eq!((answer.failure().1.as_str(), answer.header("www-authenticate")), (code, "Bearer"), "{token}");
        }
    }
    assert_eq!(server.call("GET", &path, &[("x-key", "kim")], "").await.status, 200);
    let only_one = server.call("DELETE", &path, &with("Bearer ann"), "").await;
    assert_eq!(only_one.failure().1, "unauthenticated", "both schemes are needed together");
    let key = [("x-key", "kim:things:write"), ("content-type", "application/json")];
    assert_eq!(server.call("POST", "/things/", &key, pot().to_string()).await.failure().1, "wrong_kind");
    let scoped = with("Bearer ann:things:write other");
    let answer = server.call("GET", "/things/", &scoped, "").await;
    assert_eq!(
        answer.failure(),
        (
            403,
            "scope_missing".to_owned(),
            json!({"required_scope": "things:read", "granted_scopes": ["things:write", "other"]})
        )
    );
    assert_eq!(server.call("GET", "/things/", &with("Bearer ann:other things:read"), "").await.status, 200);

    assert_eq!(server.call("GET", "/odd/greeting", &[], "").await.text, "hello stranger");
    assert_eq!(server.call("GET", "/odd/greeting", &with("Bearer ann"), "").await.text, "hello ann");
    assert_eq!(server.call("GET", "/odd/greeting", &with("Bearer old"), "").await.failure().1, "token_expired");
    let undocumented = server.call("GET", "/odd/greeting", &with("Bearer forbidden"), "").await;
    assert_eq!(undocumented.failure().1, "internal_error", "a code that the operation does not list is not sent");
}

#[tokio::test]
async fn limits_are_counted_and_told() {
    let server = Server::new();
    let path = format!("/things/{}/", THING.to_uppercase());
    for round in 1..=10_u64 {
        let answer = server
            .get(if round % 2 == 0 { path.as_str() } else { "/things/6f1c9a52-3a0e-4f57-9a44-2f0d5d1a7c10/" })
            .await;
        assert_eq!(
            (answer.status, answer.header("x-limit"), answer.header("x-remaining")),
            (200, "10", (10 - round).to_string().as_str())
        );
        assert_eq!(
            (answer.header("x-reset"), answer.header("retry-after")),
            ("42", ""),
            "seconds from now, and no wait"
        );
    }
    let answer = server.get(&path).await;
    assert_eq!(
        answer.failure(),
        (429, "rate_limited".to_owned(), json!({"seconds": 42, "limit": 10, "window": "minute"}))
    );
    assert_eq!((answer.header("x-remaining"), answer.header("retry-after")), ("0", "42"));
    assert_eq!(server.call("GET", &path, &[], "").await.failure().0, 429, "the limit is judged first");
    assert_eq!(server.get("/things/").await.header("x-limit"), "1000");

    let guest = server.call("GET", "/things/", &[], "").await;
    assert_eq!((guest.failure().0, guest.header("x-limit")), (401, "100"), "no good credential: the guests' class");
    let wrong = server.call("DELETE", "/things/x/", &[("x-key", "kim")], "").await;
    assert_eq!(
        (wrong.failure().0, wrong.header("x-limit")),
        (401, "100"),
        "half of what is needed is no good credential"
    );
}

#[tokio::test]
async fn what_matches_nothing_is_answered_in_the_dialect() {
    let server = Server::new();
    for path in [
        "/",
        "/things",
        "/things//",
        "//things/",
        "/things/a/b/",
        "/things%2F",
        "/Things/",
        "/things/%ff/file",
        "/thing%73/",
    ] {
        let answer = server.get(path).await;
        let (status, code, _) = answer.failure();
        assert_eq!((status, code.as_str(), answer.header("allow")), (404, "not_found", ""), "{path}");
        assert_eq!(answer.header("x-limit"), "1000", "a good credential counts in its class");
    }
    assert_eq!(server.call("GET", "/nothing", &[], "").await.header("x-limit"), "100");
    for (method, path, allow) in [
        ("PUT", "/things/".to_owned(), "GET, HEAD, POST"),
        ("OPTIONS", "/things/".to_owned(), "GET, HEAD, POST"),
        ("HEAD", "/odd/form".to_owned(), "POST"),
        ("POST", format!("/things/{THING}/"), "DELETE, GET, HEAD, PATCH"),
        ("BREW", "/odd/greeting".to_owned(), "GET, HEAD"),
    ] {
        let answer = server.call(method, &path, &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, allow), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(answer.failure().1, "method_not_allowed");
        }
    }
    for _ in 0..95 {
        server.call("GET", "/nothing", &[], "").await;
    }
    assert_eq!(server.call("GET", "/nothing", &[], "").await.failure().1, "rate_limited", "guests run out there too");
}

#[tokio::test]
async fn a_bad_id_names_nothing() {
    let server = Server::new();
    for (id, sent) in [
        ("nope", "nope"),
        ("%20", " "),
        ("a%2Fb", "a/b"),
        ("6f1c9a523a0e4f579a442f0d5d1a7c10", "6f1c9a523a0e4f579a442f0d5d1a7c10"),
    ] {
        let answer = server.get(&format!("/things/{id}/")).await;
        assert_eq!(answer.failure(), (404, "thing_not_found".to_owned(), json!({"thing_id": sent})), "{id}");
    }
    assert_eq!(server.get("/things/%ff/").await.failure().1, "thing_not_found");
    let headers = [("authorization", "Bearer ann"), ("content-type", "application/json")];
    let answer = server.call("PATCH", "/things/nope/", &headers, "{}").await;
    assert_eq!(answer.failure().1, "validation_error", "the search comes after validation");
}

#[tokio::test]
async fn heads_are_those_of_get() {
    let server = Server::new();
    let path = format!("/things/{THING}/");
    let get = server.get(&path).await;
    let head = server.call("HEAD", &path, &[("authorization", "Bearer ann")], "").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.text.len().to_string());
    assert_eq!(head.header("content-type"), "application/json");
    let refused = server.call("HEAD", &path, &[], "").await;
    assert_eq!((refused.status, refused.text.as_str()), (401, ""));
}

#[tokio::test]
async fn failures_of_handlers_are_dressed() {
    let server = Server::new();
    let taken = json!({"name": "taken", "shape": {"form": "circle", "radius": 1}});
    assert_eq!(server.post("/things/", &taken).await.failure(), (409, "thing_taken".to_owned(), json!({})));
    let panics = json!({"name": "panic", "shape": {"form": "circle", "radius": 1}});
    let answer = server.post("/things/", &panics).await;
    assert_eq!(answer.failure(), (500, "internal_error".to_owned(), json!({})));
    assert!(!answer.text.contains("boiled"), "{}", answer.text);
    assert_eq!(answer.header("x-limit"), "1000", "what was counted before the panic is told");
    let other = format!("/things/{}/", Uuid::nil());
    assert_eq!(server.get(&other).await.failure().2, json!({"thing_id": Uuid::nil()}));
}

fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (disposition, content_type, content) in parts {
        body.extend_from_slice(format!("--XX\r\nContent-Disposition: form-data; {disposition}\r\n").as_bytes());
        if !content_type.is_empty() {
            body.extend_from_slice(format!("Content-Type: {content_type}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    body
}

#[tokio::test]
async fn multipart_forms_are_read_and_judged() {
    let server = Server::new();
    let path = format!("/things/{THING}/file/");
    let headers = [("authorization", "Bearer ann"), ("content-type", "multipart/form-data; boundary=XX")];
    let send = async |parts: &[(&str, &str, &[u8])]| server.call("PUT", &path, &headers, form(parts)).await;
    let large = vec![1_u8; 1_000_000];
    let file: (&str, &str, &[u8]) = (r#"name="file"; filename="a.pdf""#, "application/pdf", &large);
    let title: (&str, &str, &[u8]) = (r#"name="title""#, "", b"A title");
    let answer = send(&[
        file,
        title,
        (r#"name="pages""#, "", b"3"),
        (r#"name="tags""#, "", b"a"),
        (r#"name="tags""#, "", b"b"),
        (r#"name="meta""#, "application/json", b"{\"a\":1}"),
        (r#"name="extras"; filename="1""#, "", b"one"),
        (r#"name="extras"; filename="2""#, "", b"two"),
        (r#"name="unknown""#, "", b"?"),
    ])
    .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let seen = server.seen();
    for piece in [
        "a.pdf",
        "length: 1000000",
        "1000000)",
        "pages: Some(3)",
        r#"Some(["a", "b"])"#,
        "a: Some(1)",
        r#"Some("1")"#,
        r#"Some("2")"#,
    ] {
        assert!(seen.contains(piece), "{piece} in {seen}");
    }
    assert_eq!(
        send(&[title]).await.failure(),
        (400, "missing_field".into(), json!({"field": "file", "reason": "is required"}))
    );
    let image: (&str, &str, &[u8]) = (r#"name="file"; filename="a.png""#, "image/png", b"x");
    let reason = "must be application/pdf or text/plain";
    assert_eq!(
        send(&[image, title]).await.failure(),
        (400, "invalid_field".into(), json!({"field": "file", "reason": reason}))
    );
    let answer = send(&[file, title, title]).await;
    assert_eq!(answer.failure().2, json!({"field": "title", "reason": "must not be repeated"}));
    let answer = send(&[file, title, (r#"name="pages""#, "", b"0x3")]).await;
    assert_eq!(answer.failure().2, json!({"field": "pages", "reason": "must be an integer"}));
    let huge = vec![1_u8; 3_000_000];
    let answer = send(&[(r#"name="file"; filename="a""#, "application/pdf", &huge), title]).await;
    assert_eq!(answer.failure().1, "too_large");
    let cut = form(&[file, title]);
    let answer = server.call("PUT", &path, &headers, cut[..500_000].to_vec()).await;
    assert_eq!(answer.failure().1, "malformed", "cut in the middle");
    let answer = server.call("PUT", &path, &[headers[0], ("content-type", "multipart/form-data")], form(&[file])).await;
    assert_eq!(answer.failure().1, "malformed", "no boundary");
    let answer = server.call("PUT", &path, &[headers[0], ("content-type", "application/json")], "{}").await;
    assert_eq!(answer.failure().1, "unsupported");
}

#[tokio::test]
async fn forms_and_bytes_and_events() {
    let server = Server::new();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = server.call("POST", "/odd/form", &form, "user=a%20b&password=p+q&remember=true&roles=x&roles=y").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"user": "a b"})), "{}", answer.text);
    let seen = server.seen();
    assert!(
        seen.contains("days: 1") && seen.contains("remember: Some(true)") && seen.contains(r#"["x", "y"]"#),
        "{seen}"
    );
    assert!(!seen.contains("p q") && seen.contains("[secret]"), "{seen}");
    assert_eq!(server.call("POST", "/odd/form", &form, "user=&password=x").await.failure().2["field"], "user");
    assert_eq!(server.call("POST", "/odd/form", &form, "password=x").await.failure().1, "missing_field");
    assert_eq!(
        server.call("POST", "/odd/form", &form, "user=%ff&password=x").await.failure().2["reason"],
        "must be UTF-8"
    );

    let bytes = [("content-type", "application/octet-stream")];
    assert_eq!(server.call("POST", "/odd/blob", &bytes, "abc").await.text, "abc");
    assert_eq!(server.call("POST", "/odd/blob", &[], "").await.status, 200, "the body is optional");

    let answer = server.call("GET", "/odd/events", &[], "").await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.text, "data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: {\"n\":3}\n\n");
}

#[tokio::test]
async fn the_request_id_is_in_the_response_and_unique() {
    let server = Server::new();
    let (one, two) = (server.get("/things/").await, server.get("/things/").await);
    assert!(one.header("x-trace").parse::<Uuid>().is_ok());
    assert_ne!(one.header("x-trace"), two.header("x-trace"));
}

#[tokio::test]
async fn it_nests_under_a_prefix() {
    let server = Server::new();
    let outer = axum::Router::new().nest("/v1", server.router.clone());
    let request = Request::get("/v1/odd/greeting").body(Body::empty()).expect("a request");
    let response = outer.oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);
}

#[test]
fn the_table_knows_the_contract() {
    let ids: Vec<_> = CONTRACT.operations.iter().map(|operation| operation.id).collect();
    assert_eq!(ids.len(), 10);
    for operation in CONTRACT.operations {
        assert!(operation.statuses.contains(&500) && operation.codes.contains(&"internal_error"), "{}", operation.id);
        if operation.body.is_some() {
            assert!(operation.refusals.malformed.is_some() && operation.refusals.several.is_some(), "{}", operation.id);
        }
    }
}

#[test]
fn secrets_are_not_printed() {
    let printed = format!("{:?}", thing());
    assert!(!printed.contains("hush") && printed.contains("[secret]"), "{printed}");
}
