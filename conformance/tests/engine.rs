//! The engine against a small service that it has never seen: a document without any extension of ours.
#![allow(clippy::unwrap_used, clippy::result_large_err, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use trueline_conformance::case::Phase;
use trueline_conformance::event::{Event, Shard};
use trueline_conformance::plan::PlanOptions;
use trueline_conformance::profile::Profile;
use trueline_conformance::report::Report;
use trueline_conformance::run::RunOptions;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_spec::Contract;

const DOCUMENT: &str = r#"
openapi: 3.0.3
info: {title: Notes, version: '1'}
paths:
  /notes:
    get:
      operationId: listNotes
      security: [{key: []}]
      parameters:
        - {name: limit, in: query, schema: {type: integer, minimum: 1, maximum: 100}}
      responses:
        '200':
          description: All notes.
          content: {application/json: {schema: {type: array, items: {$ref: '#/components/schemas/Note'}}}}
        '400': {$ref: '#/components/responses/Failed'}
        '401': {$ref: '#/components/responses/Failed'}
    post:
      operationId: createNote
      security: [{key: []}]
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: '#/components/schemas/NewNote'}}}
      responses:
        '201':
          description: The note.
          content: {application/json: {schema: {$ref: '#/components/schemas/Note'}}}
          links:
            read: {operationId: getNote, parameters: {noteId: $response.body#/id}}
            remove: {operationId: deleteNote, parameters: {noteId: $response.body#/id}}
        '400': {$ref: '#/components/responses/Failed'}
        '401': {$ref: '#/components/responses/Failed'}
        '413': {$ref: '#/components/responses/Failed'}
        '415': {$ref: '#/components/responses/Failed'}
  /notes/{noteId}:
    parameters:
      - {name: noteId, in: path, required: true, schema: {type: integer, format: int64, minimum: 1}}
    get:
      operationId: getNote
      security: [{key: []}]
      responses:
        '200':
          description: The note.
          content: {application/json: {schema: {$ref: '#/components/schemas/Note'}}}
        '401': {$ref: '#/components/responses/Failed'}
        '404': {$ref: '#/components/responses/Failed'}
    delete:
      operationId: deleteNote
      security: [{key: []}]
      responses:
        '204': {description: Gone.}
        '401': {$ref: '#/components/responses/Failed'}
        '404': {$ref: '#/components/responses/Failed'}
components:
  securitySchemes: {key: {type: http, scheme: bearer}}
  responses:
    Failed:
      description: It did not work.
      content: {application/json: {schema: {$ref: '#/components/schemas/Failure'}}}
  schemas:
    Failure: {type: object, required: [message], properties: {message: {type: string}}}
    NewNote:
      type: object
      required: [title]
      properties:
        title: {type: string, minLength: 1, maxLength: 40}
        stars: {type: integer, minimum: 0, maximum: 5}
        labels: {type: array, maxItems: 3, items: {type: string, maxLength: 20}}
    Note:
      allOf:
        - $ref: '#/components/schemas/NewNote'
        - {type: object, required: [id], properties: {id: {type: integer, format: int64}}}
"#;

/// What the service does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NoAuthOnDelete,
    LenientTitle,
    MissingId,
    ServerError,
    WrongType,
}

#[derive(Clone)]
struct Notes {
    fault: Fault,
    notes: Arc<Mutex<BTreeMap<i64, Value>>>,
}

fn failed(status: StatusCode, message: &str) -> Response {
    let mut response = (status, axum::Json(json!({"message": message}))).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, "Bearer".parse().unwrap());
    }
    response
}

fn known(headers: &HeaderMap) -> Result<(), Response> {
    match headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()) {
        Some(b"Bearer notes-secret-key") => Ok(()),
        _ => Err(failed(StatusCode::UNAUTHORIZED, "who are you")),
    }
}

fn valid(fault: Fault, note: &Value) -> bool {
    let title = note["title"].as_str().map(|title| title.chars().count());
    let longest = if fault == Fault::LenientTitle { 400 } else { 40 };
    let labels = note.get("labels").is_none_or(|labels| {
        labels.as_array().is_some_and(|labels| {
            labels.len() <= 3 && labels.iter().all(|l| l.as_str().is_some_and(|l| l.chars().count() <= 20))
        })
    });
    let stars = note.get("stars").is_none_or(|stars| {
        stars
            .as_i64()
            .or_else(|| stars.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64))
            .is_some_and(|n| (0..=5).contains(&n))
    });
    note.is_object() && title.is_some_and(|length| (1..=longest).contains(&length)) && labels && stars
}

fn service(fault: Fault) -> axum::Router {
    let state = Notes { fault, notes: Arc::default() };
    let list = async |State(state): State<Notes>, headers: HeaderMap, uri: axum::http::Uri| {
        known(&headers)?;
        let mut most = 100;
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            if let Some(limit) = pair.strip_prefix("limit=") {
                let limit = limit.parse().ok().filter(|limit: &usize| (1..=100).contains(limit));
                most = limit.ok_or_else(|| failed(StatusCode::BAD_REQUEST, "limit"))?;
            }
        }
        let shown = axum::Json(
            state.notes.lock().unwrap().values().filter(|note| !note.is_null()).take(most).cloned().collect::<Vec<_>>(),
        );
        Ok::<_, Response>(shown)
    };
    let create = async |State(state): State<Notes>, headers: HeaderMap, body: Bytes| {
        known(&headers)?;
        let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !media.starts_with("application/json") {
            return Err(failed(StatusCode::UNSUPPORTED_MEDIA_TYPE, "JSON only"));
        }
        let Ok(mut note) = serde_json::from_slice::<Value>(&body) else {
            return Err(failed(StatusCode::BAD_REQUEST, "not JSON"));
        };
        if !valid(state.fault, &note) {
            return Err(failed(StatusCode::BAD_REQUEST, "not a note"));
        }
        if state.fault == Fault::ServerError && note["title"].as_str().is_some_and(|title| title.contains(' ')) {
            return Err(failed(StatusCode::INTERNAL_SERVER_ERROR, "oops"));
        }
        let mut notes = state.notes.lock().unwrap();
        let id = notes.len() as i64 + 1;
        if state.fault != Fault::MissingId {
            note["id"] = json!(id);
        }
        if state.fault == Fault::WrongType {
            note["id"] = json!(id.to_string());
        }
        notes.insert(id, note.clone());
        Ok((StatusCode::CREATED, axum::Json(note)))
    };
    let read = async |State(state): State<Notes>, Path(id): Path<String>, headers: HeaderMap| {
        known(&headers)?;
        let found = id.parse().ok().and_then(|id: i64| state.notes.lock().unwrap().get(&id).cloned());
        found
            .filter(|note| !note.is_null())
            .map(axum::Json)
            .ok_or_else(|| failed(StatusCode::NOT_FOUND, "no such note"))
    };
    let remove = async |State(state): State<Notes>, Path(id): Path<String>, headers: HeaderMap| {
        if state.fault != Fault::NoAuthOnDelete {
            known(&headers)?;
        }
        let removed = id.parse().ok().and_then(|id: i64| state.notes.lock().unwrap().get_mut(&id).map(Value::take));
        match removed.filter(|note| !note.is_null()) {
            Some(_) => Ok(StatusCode::NO_CONTENT),
            None => Err(failed(StatusCode::NOT_FOUND, "no such note")),
        }
    };
    axum::Router::new()
        .route("/notes", get(list).post(create))
        .route("/notes/{id}", get(read).delete(remove))
        .with_state(state)
}

fn suite() -> Suite {
    let profile = Profile::parse("[principals.me]\nscheme = 'key'\ncredential = 'notes-secret-key'\n").unwrap();
    Suite::new(Contract::from_text("notes.yaml", DOCUMENT).unwrap()).profile(profile)
}

async fn check(fault: Fault, seed: u64) -> Report {
    suite().seed(seed).run(InProcessTarget::new(service(fault))).await.unwrap()
}

fn checks(report: &Report) -> Vec<&str> {
    let mut checks: Vec<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
    checks.dedup();
    checks
}

#[tokio::test]
async fn a_clean_service_has_no_findings() {
    for seed in 0..10 {
        let report = check(Fault::None, seed).await;
        assert!(report.findings.is_empty(), "seed {seed}: {:#?}", report.findings);
        assert!(report.flaky.is_empty(), "seed {seed}: {:#?}", report.flaky);
        for operation in &report.operations {
            assert!(operation.statuses.keys().any(|status| (200..300).contains(status)), "{operation:?}");
        }
    }
}

#[tokio::test]
async fn every_fault_is_found_by_the_check_that_names_it() {
    for (fault, check_id) in [
        (Fault::NoAuthOnDelete, "auth.required"),
        (Fault::LenientTitle, "input.rejects-invalid"),
        (Fault::MissingId, "response.schema"),
        (Fault::WrongType, "response.schema"),
        (Fault::ServerError, "input.no-server-error"),
    ] {
        let report = check(fault, 1).await;
        assert!(checks(&report).contains(&check_id), "{check_id}: {:?}", checks(&report));
    }
}

#[tokio::test]
async fn the_same_seed_sends_the_same_cases_with_one_worker_and_with_eight() {
    let mut runs = Vec::new();
    for workers in [1, 8] {
        let mut cases = Vec::new();
        let options = RunOptions { workers, ..RunOptions::default() };
        let target = InProcessTarget::new(service(Fault::None));
        let suite = suite().seed(7).options(options);
        suite
            .run_watched(target, |event| {
                if let Event::CaseFinished { id, phase, outcome, .. } = event {
                    cases.push((*phase as u8, id.clone(), *outcome));
                }
            })
            .await
            .unwrap();
        cases.sort();
        runs.push(cases);
    }
    assert!(runs[0].len() > 100);
    assert!(runs[0].iter().any(|(phase, ..)| *phase == Phase::Random as u8));
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn shards_send_every_case_once_and_add_up_to_the_whole() {
    let run = async |shard: Option<Shard>| {
        let mut cases = Vec::new();
        let plan = PlanOptions { seed: 3, random_cases: 10, shard, ..PlanOptions::default() };
        let suite = suite().plan(plan);
        let report = suite
            .run_watched(InProcessTarget::new(service(Fault::ServerError)), |event| {
                if let Event::CaseFinished { id, .. } | Event::CaseSkipped { id, .. } = event {
                    cases.push(id.clone());
                }
            })
            .await
            .unwrap();
        (report, cases)
    };
    let (whole, mut all) = run(None).await;
    let mut parts = Vec::new();
    let mut together = Vec::new();
    for index in 1..=3 {
        let (report, cases) = run(Some(Shard { index, of: 3 })).await;
        assert!(!cases.is_empty());
        together.extend(cases);
        parts.push((format!("shard {index}"), report));
    }
    all.sort();
    together.sort();
    assert_eq!(together, all);
    let merged = trueline_conformance::report::merge(parts).unwrap();
    let states = |report: &Report| -> Vec<_> {
        report.ledger.iter().map(|entry| (entry.clause.clone(), entry.state, entry.reason.clone())).collect()
    };
    assert_eq!(states(&merged), states(&whole));
    let ids = |report: &Report| report.findings.iter().map(|finding| finding.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&merged), ids(&whole));
    assert_eq!(merged.verdict, whole.verdict);
}
