//! Secrets stand in no report, no log and no recorded case, in whatever form they went over the wire; and a replay finds
//! them again. The service here repeats everything that it is sent, makes up secrets of its own, and takes every credential, so
//! that the harness has much to report.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use trueline_conformance::event::Event;
use trueline_conformance::finding::Finding;
use trueline_conformance::plan::PlanOptions;
use trueline_conformance::profile::Profile;
use trueline_conformance::report::{self, Report};
use trueline_conformance::run::{self, RunOptions};
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_spec::Contract;

/// Every answer has the wrong type, so that every operation has a finding that shows a whole exchange.
const DOCUMENT: &str = r#"
openapi: 3.1.0
info: {title: Parrot, version: '1'}
paths:
  /login:
    post:
      operationId: logIn
      security: []
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [user, password]
              properties: {user: {type: string}, password: {type: string, minLength: 3}}
      responses:
        '200': {description: In., content: {application/json: {schema: {type: array}}}}
        '400': {description: No.}
  /token:  {get: {operationId: byToken,  security: [{token: []}],  responses: {'200': &no {description: No., content: {application/json: {schema: {type: array}}}}, '401': {description: No.}}}}
  /basic:  {get: {operationId: byBasic,  security: [{basic: []}],  responses: {'200': *no, '401': {description: No.}}}}
  /header: {get: {operationId: byHeader, security: [{header: []}], responses: {'200': *no, '401': {description: No.}}}}
  /query:  {get: {operationId: byQuery,  security: [{query: []}],  responses: {'200': *no, '401': {description: No.}}}}
components:
  securitySchemes:
    token: {type: http, scheme: bearer, x-credential: {format: jwt}}
    basic: {type: http, scheme: basic}
    header: {type: apiKey, in: header, name: X-Api-Key}
    query: {type: apiKey, in: query, name: key}
"#;

const PASSWORD: &str = "pa\"ss w/ord+1%";
const SHORT: &str = "p1n!";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsIm4iOjF9.c2lnbmF0dXJlLW9mLWFsaWNlLTEyMzQ1Njc4";
const REFRESH: &str = "r3fr3sh-9f86d081884c7d659a2feaa0";
const BASIC: &str = "bob:hunter2-Basic#1-long";
const HEADER: &str = "k3y/with+odd=chars&more-0123456789";
const QUERY: &str = "qu3ry key/with+odd=chars&more";
const EXPIRED: &str = "0ld-token-aaaabbbbccccdddd";
const REVOKED: &str = "gone-token-eeeeffff00001111";
/// Made up by the service: a documented name, a name that sounds like it, a header, a cookie.
const MADE: &str = "sk_live_51H8xTr0ub4dor";
const COOKIE: &str = "s3ss10n-cookie-value-77";

const SECRETS: [&str; 11] = [PASSWORD, SHORT, TOKEN, REFRESH, BASIC, HEADER, QUERY, EXPIRED, REVOKED, MADE, COOKIE];

fn profile() -> Profile {
    let profile = format!(
        "[principals.alice]\nscheme = 'token'\n\
         login = {{ operation = 'logIn', token = '/access', refresh = '/refresh', body = {{ user = 'alice', password = {password} }} }}\n\
         [principals.carol]\nscheme = 'token'\n\
         login = {{ operation = 'logIn', token = '/access', body = {{ user = 'carol', password = '{SHORT}' }} }}\n\
         [principals.bob]\nscheme = 'basic'\ncredential = '{BASIC}'\n\
         [principals.h]\nscheme = 'header'\ncredential = '{HEADER}'\n\
         [principals.q]\nscheme = 'query'\ncredential = '{QUERY}'\n\
         [[bad-credentials]]\nscheme = 'token'\nkind = 'expired'\ncredential = '{EXPIRED}'\n\
         [[bad-credentials]]\nscheme = 'token'\nkind = 'revoked'\ncredential = '{REVOKED}'\n",
        password = Value::from(PASSWORD)
    );
    Profile::parse(&profile).unwrap()
}

/// Bodies that the login was asked with.
type Seen = Arc<Mutex<Vec<String>>>;

fn service(seen: Seen) -> axum::Router {
    let parrot = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| -> Response {
        let said: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        let text = String::from_utf8_lossy(&body).into_owned();
        let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
        if uri.path() == "/login" {
            seen.lock().unwrap().push(text.clone());
            // With any other password the finding would be made smaller, and lose it.
            if sent["password"] != PASSWORD && sent["password"] != SHORT {
                return axum::http::StatusCode::BAD_REQUEST.into_response();
            }
        }
        // Somebody has to be named, and anybody will do: what each bad credential was shows in a finding of its own.
        let named = ["authorization", "x-api-key"].iter().any(|name| headers.contains_key(*name))
            || uri.query().is_some_and(|query| query.contains("key="));
        if uri.path() != "/login" && !named {
            return axum::http::StatusCode::UNAUTHORIZED.into_response();
        }
        let answer = json!({
            "access": TOKEN,
            "refresh": REFRESH,
            "account": { "apiKey": MADE },
            "you": format!("{method} {uri}"),
            "headers": said,
            "text": text,
            "body": sent,
        });
        let mut response = axum::Json(answer).into_response();
        response.headers_mut().insert(header::SET_COOKIE, format!("sid={COOKIE}; HttpOnly").parse().unwrap());
        response.headers_mut().insert("x-api-key", MADE.parse().unwrap());
        response
    };
    axum::Router::new().fallback(parrot)
}

fn suite() -> Suite {
    Suite::new(Contract::from_text("parrot.yaml", DOCUMENT).unwrap()).profile(profile())
}

/// All cases, or one.
async fn run(case: Option<&str>) -> (Report, String) {
    let mut log = String::new();
    let report = suite()
        .plan(PlanOptions { case: case.map(str::to_owned), ..PlanOptions::default() })
        .run_watched(InProcessTarget::new(service(Seen::default())), |event: &Event| {
            log.push_str(&serde_json::to_string(event).unwrap());
            log.push('\n');
        })
        .await
        .unwrap();
    (report, log)
}

/// A text in every form in which it may go over the wire or into a file.
fn forms(secret: &str) -> Vec<String> {
    let json = Value::from(secret).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let twice = Value::from(json.as_str()).to_string();
    let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let base64 = base64::engine::general_purpose::STANDARD.encode(secret);
    let html = secret.replace('&', "&amp;").replace('"', "&quot;");
    let mut forms = vec![secret.to_owned(), json, twice[1..twice.len() - 1].to_owned(), percent, base64, html];
    // Of what is cut, lengthened or changed in one place, the most is still there.
    let characters: Vec<char> = secret.chars().collect();
    forms.extend(characters.windows(16).map(|window| window.iter().collect::<String>()));
    forms
}

#[tokio::test]
async fn secrets_stand_in_no_report_and_no_log() {
    let utf8 = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (report, log) = run(None).await;
    // Of several cases with one cause, the whole run shows the smallest only.
    let (forged, _) = run(Some("access/byToken/token/forged")).await;
    let (unsigned, _) = run(Some("access/byToken/token/unsigned")).await;
    let outputs = [
        ("forged", utf8(report::to_json(&forged).unwrap())),
        ("unsigned", utf8(report::to_json(&unsigned).unwrap())),
        ("events", log),
        ("json", utf8(report::to_json(&report).unwrap())),
        ("html", report::to_html(&report)),
        ("sarif", utf8(report::to_sarif(&report).unwrap())),
        ("har", utf8(report::to_har(&report).unwrap())),
        ("junit", utf8(report::to_junit(&report).unwrap())),
        ("terminal", report.to_string()),
    ];
    for (name, output) in &outputs {
        for secret in SECRETS {
            for form in forms(secret) {
                assert!(
                    !output.contains(&form),
                    "{name} has `{form}` of `{secret}`: …{}…",
                    output
                        .split(&form)
                        .next()
                        .unwrap()
                        .chars()
                        .rev()
                        .take(200)
                        .collect::<String>()
                        .chars()
                        .rev()
                        .collect::<String>()
                );
            }
        }
    }
    // The names that stand in their places show that there was something to hide, in each of the ways.
    let json: String = outputs.iter().map(|(_, output)| output.as_str()).collect();
    let shown = [
        "$ALICE_TOKEN",
        "$ALICE_PASSWORD",
        "$BOB_CREDENTIAL_BASE64",
        "$H_CREDENTIAL",
        "$Q_CREDENTIAL",
        "$BAD_EXPIRED",
        "$BAD_REVOKED",
        "_CORRUPTED",
        "_TRUNCATED",
        "_UNSIGNED",
        "(secret of 22 characters)",
        "sid=(secret of 23 characters)",
    ];
    let missing: Vec<&str> = shown.into_iter().filter(|name| !json.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_replay_puts_the_profile_s_secrets_back() {
    let (report, _) = run(None).await;
    let has = |finding: &&Finding| serde_json::to_string(&finding.evidence.case).unwrap().contains("$ALICE_PASSWORD");
    let finding = report.findings.iter().find(has).expect("a case that logs in");
    let seen = Seen::default();
    let target = Arc::new(InProcessTarget::new(service(Arc::clone(&seen))));
    let (sender, mut events) = tokio::sync::mpsc::channel(1_000);
    let subject = Arc::clone(suite().subject());
    let case = finding.evidence.case.clone();
    run::replay(subject, Arc::new(profile()), case, target, RunOptions::default(), sender).await.unwrap();
    while events.recv().await.is_some() {}
    let bodies = seen.lock().unwrap().clone();
    // Those who log in do so first; then the case is sent, and sent again, and made smaller in everything but its secret.
    let passwords: Vec<String> = bodies
        .iter()
        .filter_map(|body| serde_json::from_str::<Value>(body).ok()?["password"].as_str().map(str::to_owned))
        .collect();
    assert!(passwords.iter().filter(|password| *password == PASSWORD).count() >= 3, "{bodies:?}");
    assert!(passwords.iter().all(|password| [PASSWORD, SHORT].contains(&password.as_str())), "{bodies:?}");
}

/// A service whose things are named by what must stay secret.
const LOCKERS: &str = r#"
openapi: 3.1.0
info: {title: Lockers, version: '1'}
paths:
  /tokens:
    post:
      operationId: makeToken
      responses: {'201': {description: Made., content: {application/json: {schema: {$ref: '#/components/schemas/Token'}}}}}
  /tokens/{token}:
    parameters: [{name: token, in: path, required: true, schema: {type: string}}]
    get:
      operationId: readToken
      responses:
        '200': {description: It., content: {application/json: {schema: {$ref: '#/components/schemas/Token'}}}}
        '404': {description: No.}
    delete:
      operationId: removeToken
      responses: {'204': {description: Gone.}, '404': {description: No.}}
components:
  schemas:
    Token: {type: object, required: [token], properties: {token: {type: string}}}
"#;

#[tokio::test]
async fn a_journal_holds_no_secret_even_in_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.ndjson");
    let made: Seen = Arc::default();
    let kept = Arc::clone(&made);
    let service = axum::Router::new().fallback(async move |method: Method, uri: Uri| -> Response {
        let mut kept = kept.lock().unwrap();
        let named = uri.path().strip_prefix("/tokens/").map(str::to_owned);
        let known = named.as_ref().and_then(|named| kept.iter().position(|one| one == named));
        match (method, known) {
            (Method::POST, None) if uri.path() == "/tokens" => {
                let token = format!("locker-token-{:016}", kept.len() * 7919 + 1);
                kept.push(token.clone());
                (axum::http::StatusCode::CREATED, axum::Json(json!({ "token": token }))).into_response()
            }
            (Method::GET, Some(_)) => axum::Json(json!({ "token": named })).into_response(),
            (Method::DELETE, Some(index)) => {
                kept[index] = String::new();
                axum::http::StatusCode::NO_CONTENT.into_response()
            }
            _ => axum::http::StatusCode::NOT_FOUND.into_response(),
        }
    });
    Suite::new(Contract::from_text("lockers.yaml", LOCKERS).unwrap())
        .options(RunOptions { journal: Some(journal.clone()), ..RunOptions::default() })
        .run(InProcessTarget::new(service))
        .await
        .unwrap();
    let made = made.lock().unwrap();
    assert!(!made.is_empty() && made.iter().all(String::is_empty), "the run itself removes what it has made: {made:?}");
    let journal = std::fs::read_to_string(&journal).unwrap();
    assert!(journal.contains("makeToken") && journal.contains("withheld"), "{journal}");
    assert!(!journal.contains("locker-token"), "{journal}");
}
