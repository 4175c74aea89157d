//! The smartsbio service on the wire: keys, quota, answers, runs, files and pictures.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;
use trueline_server::platform::clock::ManualClock;
use trueline_server::platform::http::observe;
use trueline_server::platform::model::{Completion, ModelError, ModelProvider, Question};
use trueline_server::platform::tokens::Secret;
use trueline_server::smartsbio::demo::{self, Demo};
use trueline_server::smartsbio::{Builder, Service};

/// 2024-03-31T23:00:00.500Z: an hour before a month ends, and not on a whole second.
const START_MS: i64 = 1_711_926_000_500;

const WS: &str = "ws_aurora";

struct World {
    service: Service,
    router: Router,
    demo: Demo,
    clock: ManualClock,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Answer {
    fn body(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status and code of a failure, with the envelope proved.
    fn failure(&self) -> (u16, String) {
        let body = self.body();
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert!(["status", "error", "message", "details"].iter().zip(&keys).all(|(a, b)| a == b), "{body}");
        assert_eq!((&body["status"], body["details"].is_object()), (&json!("error"), true), "{body}");
        assert_eq!(
            keys.len() > 4,
            body["error"] == "validation_error",
            "errors stand with validation_error only: {body}"
        );
        (self.status, body["error"].as_str().unwrap().to_owned())
    }
}

/// As [`Answer::failure`] gives it.
fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

impl World {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = ManualClock::starting_at(START_MS);
        Self::on(clock, change).await
    }

    async fn on(clock: ManualClock, change: impl FnOnce(Builder) -> Builder) -> Self {
        let builder = Service::builder().clock(clock.clock()).secret(Secret::new("s".repeat(32)));
        let service = change(builder).build().await.unwrap();
        service.reached_at("http://here");
        let demo = demo::seed(&service).await.unwrap();
        let router = observe(service.router(), Vec::new());
        Self { service, router, demo, clock }
    }

    fn key(&self, name: &str) -> &str {
        &self.demo.keys[name].key
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        Answer { status: head.status.as_u16(), headers: head.headers, bytes: body.collect().await.unwrap().to_bytes() }
    }

    async fn call(&self, method: Method, path: &str, key: &str, body: Value) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if key.starts_with("sk_live_") {
            request = request.header("authorization", format!("Bearer {key}"));
        } else if !key.is_empty() {
            request = request.header("cookie", format!("theme=dark; session={key}"));
        }
        let body = match body {
            Value::Null => Body::empty(),
            body => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, self.key("bearer-01"), Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, self.key("bearer-01"), body).await
    }

    async fn upload(&self, name: &str, content: &str) -> Answer {
        let request = Request::post("/v1/files/upload")
            .header("authorization", format!("Bearer {}", self.key("bearer-01")))
            .header("content-type", "multipart/form-data; boundary=b")
            .body(Body::from(form(name, content)));
        self.send(request.unwrap()).await
    }

    /// Uploads a file and gives its key.
    async fn file(&self, name: &str, content: &str) -> String {
        let answer = self.upload(name, content).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body()["key"].as_str().unwrap().to_owned()
    }

    /// What a presigned URL gives, without any key.
    async fn fetch(&self, url: &str) -> Answer {
        let path = url.strip_prefix("http://here").unwrap();
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn put(&self, url: &str, content: &str) -> u16 {
        let path = url.strip_prefix("http://here").unwrap();
        self.send(Request::put(path).body(Body::from(content.to_owned())).unwrap()).await.status
    }

    async fn download(&self, key: &str) -> Answer {
        let link = self.get(&format!("/v1/files/download?workspace_id={WS}&key={key}")).await.body();
        assert_eq!(link["expires_in"], 3600);
        self.fetch(link["url"].as_str().unwrap()).await
    }
}

fn form(name: &str, content: &str) -> String {
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"workspace_id\"\r\n\r\n{WS}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\nraw/\r\n\
         --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/plain\r\n\r\n\
         {content}\r\n--b--\r\n"
    )
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value}"))
}

/// A model provider that never answers.
struct Broken;

impl ModelProvider for Broken {
    fn answer<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Completion, ModelError>> {
        Box::pin(async { Err(ModelError::Refused(503)) })
    }
}

#[tokio::test]
async fn keys_open_what_their_scopes_and_workspaces_allow() {
    let world = World::new().await;
    let bare =
        |header: &str, value: &str| Request::get("/v1/workspaces").header(header, value).body(Body::empty()).unwrap();
    let good = world.key("header-01");
    assert_eq!(world.send(bare("x-api-key", good)).await.status, 200);
    for odd in ["abc", "sk_live_short", &format!("{good}A"), "sk_live_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(world.send(bare("x-api-key", odd)).await.failure(), code(401, "auth_required"), "{odd}");
    }
    let both = Request::get("/v1/workspaces").header("x-api-key", good).header("authorization", "Bearer abc");
    let both = world.send(both.body(Body::empty()).unwrap()).await;
    assert_eq!(both.failure(), code(401, "auth_required"), "Authorization counts where it is there");
    assert!(both.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{both:?}");
    assert_eq!(world.call(Method::GET, "/v1/workspaces", "", Value::Null).await.failure(), code(401, "auth_required"));
    for (name, wanted) in [("revoked", "key_revoked"), ("expired", "key_expired")] {
        let answer = world.call(Method::GET, "/v1/workspaces", world.key(name), Value::Null).await;
        assert_eq!(answer.failure(), code(401, wanted));
    }

    let only = world.call(Method::GET, "/v1/tools", world.key("only-files"), Value::Null).await;
    assert_eq!(only.failure(), code(403, "insufficient_scope"));
    assert_eq!(only.body()["details"], json!({"required_scope": "tools", "key_scopes": ["files"]}));
    let any = world.call(Method::GET, "/v1/workspaces", world.key("only-files"), Value::Null).await;
    assert_eq!(any.body()["workspaces"].as_array().unwrap().len(), 2);

    let restricted = world.key("restricted");
    let mine = world.call(Method::GET, "/v1/workspaces", restricted, Value::Null).await;
    assert_eq!(text(&mine.body(), "/workspaces/0/id"), WS);
    let files = async |workspace: &str| {
        world.call(Method::GET, &format!("/v1/files?workspace_id={workspace}"), restricted, Value::Null).await
    };
    assert_eq!(files(WS).await.status, 200);
    for other in ["ws_aurora2", "ws_borealis", "ws_nowhere"] {
        let denied = files(other).await;
        assert_eq!(denied.failure(), code(403, "workspace_access_denied"));
        assert_eq!(denied.body()["details"], json!({"workspace_id": other}));
    }
    let query = async |key: &str, body: Value| world.call(Method::POST, "/v1/query", key, body).await;
    let nowhere = query(restricted, json!({"prompt": "Hello"})).await;
    assert_eq!(nowhere.failure(), code(400, "workspace_required"));
    let first = query(world.key("bearer-01"), json!({"prompt": "Hello"})).await;
    assert_eq!(text(&first.body(), "/workspace_id"), WS, "the organization's first workspace");
    let none = world.get("/v1/files").await;
    assert_eq!(none.failure(), code(400, "workspace_required"));
    assert_eq!(none.body()["details"], json!({"parameter": "workspace_id"}));
    let two = world.get("/v1/files?limit=0").await;
    assert_eq!(two.failure(), code(400, "validation_error"), "more is wrong than the workspace");
    let key_on_session = world.get("/v1/api-keys").await;
    assert_eq!(key_on_session.failure(), code(401, "auth_required"), "no key manages keys");
}

#[tokio::test]
async fn a_revocation_is_effective_within_thirty_seconds_on_every_node() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/x.db", folder.path().display());
    let clock = ManualClock::starting_at(START_MS);
    let here = World::on(clock.clone(), |builder| builder.database(&url)).await;
    let there = World::on(clock.clone(), |builder| builder.database(&url)).await;
    let session = &there.demo.sessions[0];
    let made = here.call(Method::POST, "/v1/api-keys", session, json!({"name": "n", "scopes": ["files"]})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (key, id) = (text(&made.body(), "/api_key").to_owned(), text(&made.body(), "/id").to_owned());
    let ask = async |world: &World| world.call(Method::GET, "/v1/usage", &key, Value::Null).await;
    assert_eq!((ask(&here).await.status, ask(&there).await.status), (200, 200));

    let path = format!("/v1/api-keys/{id}");
    assert_eq!(here.call(Method::DELETE, &path, session, Value::Null).await.status, 204);
    assert_eq!(ask(&here).await.failure(), code(401, "key_revoked"), "at once where it was revoked");
    clock.advance(Duration::from_millis(29_999));
    assert_eq!(ask(&there).await.status, 200, "another node remembers the key");
    clock.advance(Duration::from_millis(1));
    assert_eq!(ask(&there).await.failure(), code(401, "key_revoked"), "for half a minute and no longer");
    let list = here.call(Method::GET, "/v1/api-keys", session, Value::Null).await.body();
    assert!(
        list["api_keys"].as_array().unwrap().iter().all(|key| key["id"] != id.as_str()),
        "it is gone from the list"
    );
    assert!(!list.to_string().contains(&key), "the key is shown once");
}

#[tokio::test]
async fn keys_expire_when_they_were_told_to_or_never() {
    let world = World::new().await;
    let session = world.demo.sessions[0].clone();
    let make = async |body: Value| world.call(Method::POST, "/v1/api-keys", &session, body).await;
    let ends = make(json!({"name": "a", "scopes": ["query"], "expires_at": "2024-04-01T00:00:00Z"})).await.body();
    let never = make(json!({"name": "b", "scopes": ["query"], "expires_at": null, "workspace_ids": null})).await.body();
    assert_eq!((&never["expires_at"], &never["workspace_ids"]), (&Value::Null, &Value::Null));
    let ask = async |made: &Value| world.call(Method::GET, "/v1/usage", text(made, "/api_key"), Value::Null).await;
    world.clock.advance(Duration::from_millis(3_599_499));
    assert_eq!(ask(&ends).await.status, 200, "the last millisecond");
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(ask(&ends).await.failure(), code(401, "key_expired"));
    world.clock.advance(Duration::from_secs(100 * 365 * 24 * 3_600));
    assert_eq!(ask(&never).await.status, 200);
    let late = make(json!({"name": "c", "scopes": ["query"]})).await;
    assert_eq!(late.failure(), code(401, "auth_required"), "nobody stays signed in for a century");
}

#[tokio::test]
async fn compute_is_counted_for_the_organization_until_the_month_ends() {
    let world = World::new().await;
    let key = world.key("quota").to_owned();
    let call = async |path: &str, body: Value| world.call(Method::POST, path, &key, body).await;
    for _ in 0..4 {
        assert_eq!(call("/v1/query", json!({"prompt": "Hello"})).await.status, 200);
    }
    let run = json!({"input": {"sequence": "ACGT"}});
    assert_eq!(call("/v1/tools/sequence_statistics/run", json!({"input": {}})).await.status, 400, "costs nothing");
    assert_eq!(call("/v1/tools/sequence_statistics/run", run.clone()).await.status, 200);
    let over = call("/v1/query", json!({"prompt": "Hello"})).await;
    assert_eq!(over.failure(), code(402, "quota_exceeded"));
    assert_eq!(over.body()["details"], json!({"quota": 5, "used": 5, "resets_at": "2024-04-01T00:00:00Z"}));
    assert!(!over.headers.contains_key("retry-after"));
    let pipeline =
        json!({"tool_id": "sequence_statistics", "input": {"sequence": "ACGT"}, "workspace_id": "ws_drizzle"});
    let file = &world.demo.organizations["d"].file;
    let render = json!({"type": "volcano", "file_path": file, "workspace_id": "ws_drizzle"});
    for (path, body) in [
        ("/v1/query/stream", json!({"prompt": "Hello"})),
        ("/v1/tools/sequence_statistics/run", run),
        ("/v1/pipelines", pipeline),
        ("/v1/visualizations/render", render),
    ] {
        assert_eq!(call(path, body).await.failure(), code(402, "quota_exceeded"), "{path}");
    }
    let usage = world.call(Method::GET, "/v1/usage", &key, Value::Null).await.body();
    assert_eq!((&usage["compute_used"], &usage["compute_quota"]), (&json!(5), &json!(5)));
    assert_eq!(text(&usage, "/period_start"), "2024-03-01T00:00:00Z");
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(call("/v1/query", json!({"prompt": "Hello"})).await.status, 200, "a new month");
}

#[tokio::test]
async fn the_agent_answers_with_tools_and_conversations_are_paged_without_gap_or_repeat() {
    let world = World::new().await;
    let answer =
        world.post("/v1/query", json!({"prompt": "What is the GC content of ATGCGC?", "workspace_id": WS})).await;
    let body = answer.body();
    assert!(text(&body, "/answer").contains("66.7 %"), "{body}");
    assert_eq!(body["tool_calls"], json!([{"tool_id": "sequence_statistics", "input": {"sequence": "ATGCGC"}}]));
    let mut ids = vec![text(&body, "/conversation_id").to_owned()];
    for number in 0..4 {
        // Two share a moment.
        world.clock.advance(Duration::from_secs(number / 2));
        let prompt = format!("Question {number}");
        let body = world.post("/v1/query", json!({"prompt": prompt, "workspace_id": WS})).await.body();
        ids.push(text(&body, "/conversation_id").to_owned());
    }
    world.clock.advance(Duration::from_secs(1));
    let again = json!({"prompt": "And then?", "conversation_id": ids[0], "workspace_id": WS});
    assert_eq!(text(&world.post("/v1/query", again).await.body(), "/conversation_id"), ids[0]);

    let mut seen = Vec::new();
    let mut path = format!("/v1/conversations?workspace_id={WS}&limit=2");
    loop {
        let page = world.get(&path).await.body();
        let listed = page["conversations"].as_array().unwrap();
        seen.extend(listed.iter().map(|one| text(one, "/id").to_owned()));
        if page["has_more"] == false {
            break;
        }
        assert_eq!(listed.len(), 2);
        path = format!("/v1/conversations?workspace_id={WS}&limit=2&before={}", seen.last().unwrap());
    }
    assert_eq!(seen[0], ids[0], "the latest activity first");
    let mut sorted = seen.clone();
    sorted.sort();
    ids.sort();
    assert_eq!(sorted, ids);

    let whole = world.get(&format!("/v1/conversations/{}?workspace_id={WS}", seen[0])).await.body();
    let roles: Vec<&str> = whole["messages"].as_array().unwrap().iter().map(|one| text(one, "/role")).collect();
    assert_eq!((roles, &whole["message_count"]), (vec!["user", "assistant", "user", "assistant"], &json!(4)));
    let elsewhere = world.get(&format!("/v1/conversations/{}?workspace_id=ws_aurora2", seen[0])).await;
    assert_eq!(elsewhere.failure(), code(404, "not_found"));
    assert_eq!(elsewhere.body()["details"], json!({"resource": "conversation", "id": seen[0]}));
    let foreign = json!({"prompt": "x", "conversation_id": seen[0], "workspace_id": "ws_aurora2"});
    assert_eq!(world.post("/v1/query", foreign).await.failure(), code(404, "not_found"));
}

fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.headers["content-type"], "text/event-stream", "{answer:?}");
    let text = std::str::from_utf8(&answer.bytes).unwrap();
    text.split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn a_streamed_answer_is_the_answer_in_pieces() {
    let world = World::new().await;
    let prompt = json!({"prompt": "Translate ATGGCCTAA into a protein", "workspace_id": WS});
    let events = events(&world.post("/v1/query/stream", prompt).await);
    let types: Vec<&str> = events.iter().map(|event| text(event, "/type")).collect();
    assert_eq!((types[0], types[1], types[types.len() - 1]), ("status", "tool_call", "done"));
    let content: String =
        events.iter().filter(|one| one["type"] == "content").map(|one| text(one, "/content")).collect();
    assert!(content.contains("MA*"), "{content}");
    let conversation = text(&events[events.len() - 1], "/conversation_id");
    let kept = world.get(&format!("/v1/conversations/{conversation}?workspace_id={WS}")).await.body();
    assert_eq!(text(&kept, "/messages/1/content"), content);
    let early = world.post("/v1/query/stream", json!({"prompt": "", "workspace_id": WS})).await;
    assert_eq!(early.failure(), code(400, "validation_error"), "before the first event");
}

#[tokio::test]
async fn a_failing_agent_says_so_and_takes_no_credit() {
    let world = World::with(|builder| builder.provider(Arc::new(Broken))).await;
    let prompt = json!({"prompt": "Hello", "workspace_id": WS});
    assert_eq!(world.post("/v1/query", prompt.clone()).await.failure(), code(500, "agent_error"));
    let events = events(&world.post("/v1/query/stream", prompt).await);
    let last = events.last().unwrap();
    assert_eq!((text(last, "/type"), text(last, "/error")), ("error", "agent_error"));
    assert_eq!(world.get("/v1/usage").await.body()["compute_used"], 0);
    let listed = world.get(&format!("/v1/conversations?workspace_id={WS}")).await.body();
    assert_eq!(listed["conversations"], json!([]), "what has no answer is not kept");
}

#[tokio::test]
async fn tools_are_held_to_their_own_schemas() {
    let world = World::new().await;
    let tools = world.get("/v1/tools").await.body();
    assert!(tools["tools"].as_array().unwrap().len() >= 6);
    let run = async |tool: &str, body: Value| world.post(&format!("/v1/tools/{tool}/run"), body).await;
    let pipelines = run("list_pipelines", json!({"input": {}})).await.body();
    let first = &pipelines["pipelines"][0];
    assert_eq!(text(first, "/id"), "alignment-wes");
    assert_eq!(text(first, "/required_inputs/0/name"), "fastq_r1");
    let wrong = run("pairwise_alignment", json!({"input": {"first": "", "gap": 1, "other": true}})).await;
    assert_eq!(wrong.failure(), code(400, "validation_error"));
    let mut fields: Vec<String> =
        wrong.body()["errors"].as_array().unwrap().iter().map(|e| text(e, "/field").to_owned()).collect();
    fields.sort();
    assert_eq!(fields, ["input.first", "input.gap", "input.other", "input.second"]);
    let aligned = run("pairwise_alignment", json!({"input": {"first": "ACGT", "second": "AGT"}})).await.body();
    assert_eq!(text(&aligned, "/second"), "A-GT");
    assert_eq!(run("nothing", json!({"input": {}})).await.failure(), code(404, "not_found"));
    let no_letters = run("sequence_statistics", json!({"input": {"sequence": "!!"}})).await;
    assert_eq!(no_letters.failure(), code(500, "agent_error"), "the schema allows it, the tool cannot");

    let key = world.file("a.fa", ">one\nACGT\n>two\nGG\n").await;
    assert_eq!(
        run("fasta_statistics", json!({"input": {"file_key": key}})).await.failure(),
        code(400, "workspace_required")
    );
    let statistics = run("fasta_statistics", json!({"input": {"file_key": key}, "workspace_id": WS})).await.body();
    assert_eq!((&statistics["sequences"], &statistics["total_length"]), (&json!(2), &json!(6)));
    let gone = run("fasta_statistics", json!({"input": {"file_key": "x"}, "workspace_id": WS})).await;
    assert_eq!(gone.failure(), code(404, "not_found"));
}

#[tokio::test]
async fn runs_end_and_their_outputs_are_files() {
    let world = World::new().await;
    let key = world.file("reads.fastq", "@r1\nACGT\n+\nIIII\n").await;
    let submit = async |body: Value| world.post("/v1/pipelines", body).await;
    let quality =
        submit(json!({"pipeline_id": "fastq-quality-control", "input": {"fastq": key}, "workspace_id": WS})).await;
    assert_eq!((quality.status, text(&quality.body(), "/status")), (202, "queued"));
    let tool =
        submit(json!({"tool_id": "sequence_statistics", "input": {"sequence": "GGCC"}, "workspace_id": WS})).await;
    let input = json!({"fastq_r1": key, "fastq_r2": key, "reference": "GRCh38"});
    let heavy = submit(json!({"pipeline_id": "whole-genome-sequencing", "input": input, "workspace_id": WS})).await;
    world.service.run_due_jobs().await.unwrap();
    let run = async |answer: &Answer| world.get(&format!("/v1/pipelines/{}", text(&answer.body(), "/id"))).await.body();
    let done = run(&quality).await;
    assert_eq!(text(&done, "/status"), "completed", "{done}");
    assert_eq!(
        (text(&done, "/outputs/0/name"), text(&done, "/outputs/1/name")),
        ("qc_summary.json", "base_quality.csv")
    );
    let csv = world.download(text(&done, "/outputs/1/key")).await;
    assert_eq!(&csv.bytes[..], b"position,mean_quality,bases\n1,40,1\n2,40,1\n3,40,1\n4,40,1\n");
    let result = world.download(text(&run(&tool).await, "/outputs/0/key")).await;
    assert_eq!(result.body()["gc_content"], 1.0);
    let failed = run(&heavy).await;
    assert_eq!((text(&failed, "/status"), failed["outputs"].as_array().unwrap().len()), ("failed", 0));
    assert!(text(&failed, "/error").contains("does not have"), "{failed}");

    let missing =
        submit(json!({"pipeline_id": "rna-seq-analysis", "input": {"reference": "hg19"}, "workspace_id": WS})).await;
    assert_eq!(missing.failure(), code(400, "validation_error"));
    let fields: Vec<String> =
        missing.body()["errors"].as_array().unwrap().iter().map(|e| text(e, "/field").to_owned()).collect();
    assert_eq!(fields, ["input.fastq_r1", "input.gtf", "input.reference"]);
    for body in [
        json!({"pipeline_id": "nothing", "input": {}, "workspace_id": WS}),
        json!({"tool_id": "nothing", "input": {}, "workspace_id": WS}),
        json!({"pipeline_id": "fastq-quality-control", "input": {"fastq": "nothing"}, "workspace_id": WS}),
    ] {
        assert_eq!(submit(body.clone()).await.failure(), code(404, "not_found"), "{body}");
    }
    let both = json!({"tool_id": "a", "pipeline_id": "b", "input": {}, "workspace_id": WS});
    assert_eq!(submit(both).await.failure(), code(400, "validation_error"));
    let page = world.get("/v1/pipelines?limit=2&status=completed").await.body();
    assert_eq!((page["pipelines"].as_array().unwrap().len(), &page["has_more"]), (2, &json!(false)));
    let first = text(&run(&quality).await, "/id").to_owned();
    let stranger = world.call(Method::GET, &format!("/v1/pipelines/{first}"), world.key("stranger"), Value::Null).await;
    assert_eq!(stranger.failure(), code(404, "not_found"));
}

#[tokio::test]
async fn files_come_and_go_by_urls_that_end() {
    let world = World::new().await;
    let key = world.file("a b.txt", "hello").await;
    assert!(key.starts_with("ws_aurora/raw/f_") && key.ends_with("/a b.txt"), "{key}");
    let listed = world.get(&format!("/v1/files?workspace_id={WS}&prefix=raw/")).await.body();
    assert_eq!((text(&listed, "/files/0/key"), &listed["files"][0]["size"]), (key.as_str(), &json!(5)));
    let all = world.get(&format!("/v1/files?workspace_id={WS}&limit=1")).await.body();
    assert_eq!((all["files"].as_array().unwrap().len(), &all["has_more"]), (1, &json!(true)));

    let asked = key.replace(' ', "%20");
    let link = world.get(&format!("/v1/files/download?workspace_id={WS}&key={asked}")).await.body();
    let url = text(&link, "/url");
    let file = world.fetch(url).await;
    assert_eq!(
        (file.status, &file.bytes[..], &file.headers["content-type"]),
        (200, &b"hello"[..], &"text/plain".parse().unwrap())
    );
    assert_eq!(world.put(url, "other").await, 403, "a URL to read is none to write");
    assert_eq!(world.fetch(&url.replace("expires=1", "expires=2")).await.status, 403);
    assert_eq!(world.fetch(url.split('?').next().unwrap()).await.status, 403);
    world.clock.advance(Duration::from_millis(3_599_499));
    assert_eq!(world.fetch(url).await.status, 200);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.fetch(url).await.status, 403, "an hour after the second that it was made in");

    let asks = json!({"filename": "big.bam", "workspace_id": WS, "size": 4, "path": "raw/", "content_type": "application/x-bam"});
    let ticket = world.post("/v1/files/upload-url", asks).await.body();
    let confirm = json!({"key": ticket["key"], "workspace_id": WS});
    assert_eq!(world.post("/v1/files/upload-confirm", confirm.clone()).await.failure(), code(404, "not_found"));
    let url = text(&ticket, "/upload_url").to_owned();
    assert_eq!(
        (world.put(&url, "abc").await, world.put(&url, "abcde").await),
        (400, 400),
        "other sizes than announced"
    );
    assert_eq!(world.post("/v1/files/upload-confirm", confirm.clone()).await.failure(), code(404, "not_found"));
    assert_eq!(world.put(&url, "abcd").await, 200);
    let kept = world.post("/v1/files/upload-confirm", confirm.clone()).await;
    assert_eq!((kept.status, text(&kept.body(), "/content_type")), (200, "application/x-bam"));
    assert_eq!(world.post("/v1/files/upload-confirm", confirm).await.status, 200, "again changes nothing");
    assert_eq!(world.put(&url, "wxyz").await, 404, "a kept file is not written again");
    assert_eq!(&world.download(text(&ticket, "/key")).await.bytes[..], b"abcd");

    let path = format!("/v1/files?workspace_id={WS}&key={asked}");
    let delete = async || world.call(Method::DELETE, &path, world.key("bearer-01"), Value::Null).await;
    assert_eq!(delete().await.body(), json!({"deleted": true, "key": key}));
    assert_eq!(delete().await.failure(), code(404, "not_found"));
}

#[tokio::test]
async fn pictures_are_drawn_and_files_are_shown() {
    let world = World::new().await;
    let table = &world.demo.organizations["a"].file;
    for (format, kind, magic) in [("png", "volcano", &b"\x89PNG\r\n\x1a\n"[..]), ("svg", "heatmap", b"<svg")] {
        let body = json!({"type": kind, "file_path": table, "workspace_id": WS, "output_format": format, "output_path": "figures/"});
        let asked = world.post("/v1/visualizations/render", body).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        let id = text(&asked.body(), "/job_id").to_owned();
        world.service.run_due_jobs().await.unwrap();
        let job = world.get(&format!("/v1/visualizations/{id}")).await.body();
        assert_eq!(text(&job, "/status"), "completed", "{job}");
        assert!(text(&job, "/output_key").starts_with("ws_aurora/figures/"), "{job}");
        let picture = world.fetch(text(&job, "/output_url")).await;
        assert!(picture.status == 200 && picture.bytes.starts_with(magic), "{format}: {picture:?}");
        let stranger =
            world.call(Method::GET, &format!("/v1/visualizations/{id}"), world.key("stranger"), Value::Null).await;
        assert_eq!(stranger.failure(), code(404, "not_found"));
    }
    let odd = world.file("odd.csv", "a,b\nx,y\n").await;
    let asked =
        world.post("/v1/visualizations/render", json!({"type": "pca", "file_path": odd, "workspace_id": WS})).await;
    world.service.run_due_jobs().await.unwrap();
    let job = world.get(&format!("/v1/visualizations/{}", text(&asked.body(), "/job_id"))).await.body();
    assert_eq!((text(&job, "/status"), text(&job, "/error")), ("failed", "The table has no column of numbers."));

    // By the path from the workspace's root, with a slash before it.
    let path = table.strip_prefix(WS).unwrap();
    let body = json!({"file_path": path, "workspace_id": WS, "expires_in": 60});
    let link = world.post("/v1/visualizations/viewer-url", body).await.body();
    assert_eq!((text(&link, "/format"), &link["expires_in"]), ("csv", &json!(60)));
    let url = text(&link, "/viewer_url");
    let page = world.fetch(url).await;
    assert!(String::from_utf8_lossy(&page.bytes).contains("<td>BRCA1</td>"), "{page:?}");
    assert_eq!(world.fetch(&url.replace("format=csv", "format=vcf")).await.status, 403);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.fetch(url).await.status, 403);
}

fn files_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_leaves_no_file_and_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(|builder| builder.files(folder.path())).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = world.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let before = files_in(folder.path());

    // Larger than what is held in memory, so that there is a file while it comes.
    let half = "x".repeat(1024 * 1024);
    let body = form("cut.bin", &half);
    let head = format!(
        "POST /v1/files/upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: multipart/form-data; boundary=b\r\ncontent-length: {}\r\n\r\n",
        world.key("bearer-01"),
        body.len() * 2
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..half.len()]).await.unwrap();
    drop(stream);

    let ticket =
        world.post("/v1/files/upload-url", json!({"filename": "cut.bin", "workspace_id": WS, "size": 2_000_000})).await;
    let ticket = ticket.body();
    let url = text(&ticket, "/upload_url").strip_prefix("http://here").unwrap().to_owned();
    let head = format!("PUT {url} HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(half.as_bytes()).await.unwrap();
    // The half is there while it is waited for.
    for _ in 0..500 {
        if files_in(folder.path()) > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(files_in(folder.path()), before + 1);
    drop(stream);
    for _ in 0..500 {
        if files_in(folder.path()) == before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(files_in(folder.path()), before);
    let listed = world.get(&format!("/v1/files?workspace_id={WS}")).await.body();
    assert_eq!(listed["files"].as_array().unwrap().len(), 1, "the demonstration's own: {listed}");
    let confirm = json!({"key": ticket["key"], "workspace_id": WS});
    assert_eq!(world.post("/v1/files/upload-confirm", confirm).await.failure(), code(404, "not_found"));
    // And the server goes on.
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /v1/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("not_found"), "{answer}");
}

#[tokio::test]
async fn bytes_that_belong_to_no_file_are_swept_away_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(|builder| builder.files(folder.path())).await;
    let kept = files_in(folder.path());
    for name in ["f_orphan", "f_demoa.123.part"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let workers = world.service.start_workers().await.unwrap();
    assert_eq!(files_in(folder.path()), kept);
    workers.stop().await;
}

#[tokio::test]
async fn who_sends_a_little_too_much_learns_why() {
    let world = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = world.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let body = " ".repeat(1024 * 1024 + 1);
    let head = format!(
        "POST /v1/query HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        world.key("bearer-01"),
        body.len()
    );
    for _ in 0..5 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("too large") | answer.contains("larger"),
            "{answer}"
        );
    }
}
