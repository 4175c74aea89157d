//! Habits of services that we did not write, each of which was once a false alarm, a leak or a dead run: names of the
//! caller's choice, renaming, 403 where a credential is at fault, logging out by GET, operations that end everything.
#![allow(clippy::unwrap_used, clippy::result_large_err, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use trueline_conformance::plan::PlanOptions;
use trueline_conformance::profile::Profile;
use trueline_conformance::report::Report;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_spec::Contract;

const DOCUMENT: &str = r##"
openapi: 3.1.0
info: {title: Hall, version: '1'}
security: [{key: []}]
paths:
  /login:
    post:
      operationId: login
      security: []
      responses:
        '200': {description: In., content: {application/json: {schema: {type: object, required: [token], properties: {token: {type: string}}}}}}
  /logout:
    get:
      operationId: logout
      responses:
        '204': {description: Out.}
        '403': {description: No.}
  /shutdown:
    post: {operationId: shutdown, responses: {'202': {description: Going down.}, '403': {description: No.}}}
  /rooms:
    get:
      operationId: listRooms
      responses:
        '200': {description: All., content: {application/json: {schema: {type: array, items: {$ref: '#/components/schemas/Room'}}}}}
        '403': {description: No.}
    post:
      operationId: createRooms
      requestBody:
        required: true
        content: {application/json: {schema: {type: object, required: [names], properties: {names: {type: array, minItems: 1, maxItems: 4, items: {type: string, pattern: '^[a-z]{5,12}$'}}}}}}
      responses:
        '201': {description: Made., content: {application/json: {schema: {type: array, items: {$ref: '#/components/schemas/Room'}}}}}
        '400': {description: No.}
        '403': {description: No.}
        '415': {description: No.}
  /rooms/{room}:
    parameters: [{name: room, in: path, required: true, schema: {type: string}}]
    get:
      operationId: getRoom
      responses:
        '200': {description: One., content: {application/json: {schema: {$ref: '#/components/schemas/Room'}}}}
        '403': {description: No.}
        '404': {description: No.}
    post:
      operationId: createRoom
      responses:
        '201': {description: Made., content: {application/json: {schema: {$ref: '#/components/schemas/Room'}}}}
        '403': {description: No.}
        '409': {description: There.}
    patch:
      operationId: renameRoom
      requestBody:
        required: true
        content: {application/json: {schema: {type: object, required: [room], properties: {room: {type: string, pattern: '^[a-z]{13,20}$'}}}}}
      responses:
        '200': {description: Moved., content: {application/json: {schema: {$ref: '#/components/schemas/Room'}}}}
        '400': {description: No.}
        '403': {description: No.}
        '404': {description: No.}
        '409': {description: There.}
        '415': {description: No.}
    delete:
      operationId: deleteRoom
      responses: {'204': {description: Gone.}, '403': {description: No.}, '404': {description: No.}}
  /rooms/{room}/light:
    parameters: [{name: room, in: path, required: true, schema: {type: string}}]
    post:
      operationId: switchOn
      requestBody:
        content: {application/json: {schema: {type: object}}}
      responses:
        '201': {description: 'On.'}
        '400': {description: It is on.}
        '403': {description: No.}
        '404': {description: No.}
        '415': {description: No.}
    delete:
      operationId: switchOff
      responses: {'204': {description: 'Off.'}, '403': {description: No.}, '404': {description: No.}}
components:
  securitySchemes: {key: {type: http, scheme: bearer}}
  schemas:
    Room: {type: object, required: [room, lit], properties: {room: {type: string}, lit: {type: boolean}}}
"##;

#[derive(Clone, Default)]
struct Hall(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    /// Whether the light is on, by room.
    rooms: BTreeMap<String, bool>,
    tokens: BTreeSet<String>,
    issued: u32,
    shutdowns: u32,
    /// Switching a light on ends every credential.
    fragile: bool,
}

fn room(name: &str, lit: bool) -> Value {
    json!({"room": name, "lit": lit})
}

async fn answer(State(hall): State<Hall>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let mut inside = hall.0.lock().unwrap();
    let path = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
    let pieces: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let no = |status: StatusCode| status.into_response();
    if path.len() > 1 && path.ends_with('/') && pieces.len() == 2 && pieces[0] != "rooms" {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, path.trim_end_matches('/').to_owned())])
            .into_response();
    }
    if pieces == ["login"] && parts.method == Method::POST {
        inside.issued += 1;
        let token = format!("hall-token-{:08}", inside.issued);
        inside.tokens.insert(token.clone());
        return axum::Json(json!({"token": token})).into_response();
    }
    let allowed = match pieces.as_slice() {
        ["login" | "shutdown"] => "POST",
        ["logout"] => "GET, HEAD",
        ["rooms"] => "GET, HEAD, POST",
        ["rooms", _] => "GET, HEAD, POST, PATCH, DELETE",
        ["rooms", _, "light"] => "POST, DELETE",
        _ => return no(StatusCode::NOT_FOUND),
    };
    if !allowed.split(", ").any(|one| one == parts.method.as_str()) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)]).into_response();
    }
    // Whoever is not known is forbidden, as some services say.
    let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(token) = given.filter(|token| inside.tokens.contains(*token)).map(str::to_owned) else {
        return no(StatusCode::FORBIDDEN);
    };
    let media = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !body.is_empty() && !media.starts_with("application/json") {
        return no(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let parsed = serde_json::from_slice::<Value>(&body);
    let letters = |value: &Value, from: usize, to: usize| {
        let text = value.as_str().filter(|text| (from..=to).contains(&text.len()));
        text.filter(|text| text.bytes().all(|byte| byte.is_ascii_lowercase())).map(str::to_owned)
    };
    match (parts.method.as_str(), pieces.as_slice()) {
        ("GET" | "HEAD", ["logout"]) => {
            inside.tokens.remove(&token);
            no(StatusCode::NO_CONTENT)
        }
        ("POST", ["shutdown"]) => {
            inside.shutdowns += 1;
            no(StatusCode::ACCEPTED)
        }
        ("GET" | "HEAD", ["rooms"]) => {
            axum::Json(inside.rooms.iter().map(|(name, lit)| room(name, *lit)).collect::<Vec<_>>()).into_response()
        }
        ("POST", ["rooms"]) => {
            let names = parsed.ok().and_then(|body| {
                let names = body.get("names")?.as_array()?.clone();
                let names: Option<Vec<String>> = names.iter().map(|name| letters(name, 5, 12)).collect();
                names.filter(|names| (1..=4).contains(&names.len()))
            });
            let Some(names) = names else { return no(StatusCode::BAD_REQUEST) };
            for name in &names {
                inside.rooms.entry(name.clone()).or_default();
            }
            let made: Vec<Value> = names.iter().map(|name| room(name, false)).collect();
            (StatusCode::CREATED, axum::Json(made)).into_response()
        }
        ("POST", ["rooms", name]) => {
            if inside.rooms.contains_key(*name) {
                return no(StatusCode::CONFLICT);
            }
            inside.rooms.insert((*name).to_owned(), false);
            (StatusCode::CREATED, axum::Json(room(name, false))).into_response()
        }
        (_, ["rooms", name, ..]) if !inside.rooms.contains_key(*name) => no(StatusCode::NOT_FOUND),
        ("GET" | "HEAD", ["rooms", name]) => axum::Json(room(name, inside.rooms[*name])).into_response(),
        ("PATCH", ["rooms", name]) => {
            let wanted = parsed.ok().and_then(|body| letters(body.get("room")?, 13, 20));
            let Some(wanted) = wanted else { return no(StatusCode::BAD_REQUEST) };
            if wanted != **name && inside.rooms.contains_key(&wanted) {
                return no(StatusCode::CONFLICT);
            }
            let lit = inside.rooms.remove(*name).unwrap_or_default();
            inside.rooms.insert(wanted.clone(), lit);
            axum::Json(room(&wanted, lit)).into_response()
        }
        ("DELETE", ["rooms", name]) => {
            inside.rooms.remove(*name);
            no(StatusCode::NO_CONTENT)
        }
        ("POST", ["rooms", name, "light"]) => {
            if !body.is_empty() && !parsed.is_ok_and(|body| body.is_object()) {
                return no(StatusCode::BAD_REQUEST);
            }
            if inside.fragile {
                inside.tokens.clear();
            }
            // What is on cannot be switched on: nothing is wrong with the request.
            if inside.rooms.insert((*name).to_owned(), true) == Some(true) {
                return no(StatusCode::BAD_REQUEST);
            }
            no(StatusCode::CREATED)
        }
        ("DELETE", ["rooms", name, "light"]) => {
            inside.rooms.insert((*name).to_owned(), false);
            no(StatusCode::NO_CONTENT)
        }
        _ => no(StatusCode::NOT_FOUND),
    }
}

async fn check(hall: &Hall, profile: &str, seed: u64) -> Report {
    let service = axum::Router::new().fallback(answer).with_state(hall.clone());
    let plan = PlanOptions { random_cases: 20, ..PlanOptions::default() };
    let suite =
        Suite::new(Contract::from_text("hall.yaml", DOCUMENT).unwrap()).profile(Profile::parse(profile).unwrap());
    suite.plan(plan).seed(seed).run(InProcessTarget::new(service)).await.unwrap()
}

const LOGIN: &str = "[principals.me]\nscheme = 'key'\nlogin = { operation = 'login', token = '/token' }\n";

#[tokio::test]
async fn a_stranger_is_understood_and_left_as_it_was() {
    for seed in 0..3 {
        let hall = Hall::default();
        let report = check(&hall, LOGIN, seed).await;
        let told: Vec<_> = report
            .findings
            .iter()
            .map(|one| (&one.check, &one.title, &one.actual, one.evidence.exchanges.last().map(|last| &last.curl)))
            .collect();
        assert!(told.is_empty(), "seed {seed}: {told:#?}");
        assert_eq!(hall.0.lock().unwrap().shutdowns, 0, "seed {seed}");
        assert!(hall.0.lock().unwrap().rooms.is_empty(), "seed {seed}: {:?}", hall.0.lock().unwrap().rooms);
        for operation in report.operations.iter().filter(|one| one.id != "shutdown") {
            let success = operation.statuses.keys().any(|status| (200..300).contains(status));
            assert!(success, "seed {seed}: {} {:?}", operation.id, operation.statuses);
        }
        assert!(!report.notes.iter().any(|note| note.contains("died") || note.contains("left")), "{:?}", report.notes);
    }
}

#[tokio::test]
async fn what_kills_a_credential_for_good_is_named_and_what_comes_after_accuses_nobody() {
    let hall = Hall::default();
    {
        let mut inside = hall.0.lock().unwrap();
        inside.fragile = true;
        inside.tokens.insert("hall-token-for-ever".to_owned());
    }
    let report = check(&hall, "[principals.me]\nscheme = 'key'\ncredential = 'hall-token-for-ever'\n", 0).await;
    let killed = report.notes.iter().find(|note| note.contains("died")).unwrap();
    assert!(killed.contains("switchOn") && killed.contains("nothing brings it back"), "{killed}");
    let accused: Vec<&str> = report.findings.iter().map(|finding| finding.title.as_str()).collect();
    assert!(!accused.iter().any(|title| title.contains("good credential")), "{accused:?}");
}
