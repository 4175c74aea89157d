//! Rate limits that a document knows by their headers alone: services that limit their callers in other ways than by a
//! counter and a fixed window are right, too, and nothing is said against them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use trueline_conformance::case::Phase;
use trueline_conformance::plan::PlanOptions;
use trueline_conformance::report::Report;
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_spec::Contract;

const DOCUMENT: &str = r#"openapi: 3.1.0
info: { title: Dice, version: 1.0.0 }
paths:
  /dice:
    get:
      operationId: roll
      responses:
        '200':
          description: A number.
          headers: &rate
            X-RateLimit-Limit: { description: LIMIT, schema: { type: integer } }
            X-RateLimit-Remaining: { schema: { type: integer } }
            X-RateLimit-Reset: { description: RESET, schema: { type: number } }
            RateLimit: { schema: { type: string } }
            RateLimit-Policy: { schema: { type: string } }
          content: { application/json: { schema: { type: integer } } }
        '429': { description: Not so fast., headers: *rate }
"#;

/// What a service answers `since` its start, in milliseconds: status and headers.
type Answer = (u16, Vec<(&'static str, String)>);

async fn run(limit: &str, reset: &str, mut answer: impl FnMut(i64) -> Answer + Send + 'static) -> Report {
    let text = DOCUMENT.replace("LIMIT", limit).replace("RESET", reset);
    let start = Instant::now();
    let roll = Arc::new(Mutex::new(move || {
        let since = i64::try_from(start.elapsed().as_millis()).unwrap();
        let (status, headers) = answer(since);
        let mut response = Response::builder().status(status);
        if status == 200 {
            response = response.header("content-type", "application/json");
        }
        for (name, value) in headers {
            response = response.header(name, value);
        }
        response.body(if status == 200 { "4".to_owned() } else { String::new() }).unwrap()
    }));
    let router = Router::new().route("/dice", get(async move || (roll.lock().unwrap())()));
    let plan = PlanOptions { phases: vec![Phase::Limits], patience_s: 3, ..PlanOptions::default() };
    let suite = Suite::new(Contract::from_text("dice.yaml", &text).unwrap()).plan(plan);
    suite.run(InProcessTarget::new(router)).await.unwrap()
}

fn silent(report: &Report, refused: bool) {
    assert!(report.findings.is_empty(), "{report}");
    assert!(report.flaky.is_empty(), "{:?}", report.flaky);
    let statuses = &report.operations[0].statuses;
    assert!(statuses.contains_key(&200), "{statuses:?}: {:?}", report.notes);
    assert_eq!(statuses.contains_key(&429), refused, "{statuses:?}");
}

fn unix_s(since: i64, at: i64) -> i64 {
    (chrono_now_ms() - since + at).div_euclid(1000)
}

fn chrono_now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A fixed window of two seconds, its end rounded down.
fn window(limit: i64) -> impl FnMut(i64) -> Answer {
    let (mut began, mut used) = (0, 0);
    move |since| {
        if since >= began + 2_000 {
            (began, used) = (since, 0);
        }
        used += 1;
        let headers = vec![
            ("x-ratelimit-limit", limit.to_string()),
            ("x-ratelimit-remaining", (limit - used).max(0).to_string()),
            ("x-ratelimit-reset", unix_s(since, began + 2_000).to_string()),
        ];
        (if used > limit { 429 } else { 200 }, headers)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_used_up_and_comes_back() {
    silent(&run("In two seconds.", "Unix time", window(20)).await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_too_far_away_is_left_alone() {
    let answer = |_| {
        let left = vec![
            ("ratelimit-policy", "\"day\";q=100;w=86400".to_owned()),
            ("ratelimit", "\"day\";r=40;t=3600".to_owned()),
        ];
        (200, left)
    };
    let report = run("Calls.", "Seconds", answer).await;
    silent(&report, false);
    // A few, and one before them to see whether anybody is there.
    assert_eq!(report.totals.requests, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_fills_up_while_it_is_emptied() {
    let (mut level, mut last) = (10.0_f64, 0);
    let answer = move |since: i64| {
        level = (level + (since - last) as f64 * 0.02).min(10.0);
        last = since;
        let passes = level >= 1.0;
        if passes {
            level -= 1.0;
        }
        let full = ((10.0 - level) / 20.0).ceil();
        let mut headers = vec![
            ("x-ratelimit-limit", "10".to_owned()),
            ("x-ratelimit-remaining", level.floor().to_string()),
            ("x-ratelimit-reset", full.to_string()),
        ];
        if !passes {
            headers.push(("retry-after", "1".to_owned()));
        }
        (if passes { 200 } else { 429 }, headers)
    };
    // Whether it is ever empty depends on the machine.
    let report = run("In half a second.", "Seconds until it is full again", answer).await;
    assert!(report.findings.is_empty(), "{report}");
    assert!(report.flaky.is_empty(), "{:?}", report.flaky);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_may_have_a_price() {
    let (mut began, mut used) = (0, 0);
    let answer = move |since: i64| {
        if since >= began + 2_000 {
            (began, used) = (since, 0);
        }
        let passes = used + 7 <= 100;
        used += if passes { 7 } else { 0 };
        let headers = vec![
            ("x-ratelimit-limit", "100".to_owned()),
            ("x-ratelimit-remaining", (100 - used).to_string()),
            ("x-ratelimit-reset", unix_s(since, began + 2_999).to_string()),
        ];
        (if passes { 200 } else { 429 }, headers)
    };
    // How many requests are left nobody can tell, so it is not used up either.
    silent(&run("Points; a roll costs seven.", "Unix time", answer).await, false);
}

/// Two limits, of which the headers state one: the other may refuse a caller who has something left.
#[tokio::test(flavor = "multi_thread")]
async fn another_limit_may_refuse_earlier() {
    let mut hour = window(50);
    let (mut second, mut burst) = (0, 0);
    let answer = move |since: i64| {
        if since >= second + 300 {
            (second, burst) = (since, 0);
        }
        burst += 1;
        let (status, mut headers) = hour(since);
        if burst > 8 {
            headers.push(("retry-after", "1".to_owned()));
            return (429, headers);
        }
        (status, headers)
    };
    silent(&run("In two seconds.", "Unix time", answer).await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_and_not_kept_is_found() {
    let mut honest = window(12);
    let never = move |since: i64| (200, honest(since).1);
    let report = run("In two seconds.", "Unix time", never).await;
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
    assert_eq!(found, ["limit.enforced"], "{report}");
}
