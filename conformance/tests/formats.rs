//! Reports for browsers and programs: HTML, SARIF, HAR and the schemas; deviations, shards, and reports made again.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixtures;

use std::path::PathBuf;

use base64::Engine;
use fixtures::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trueline_conformance::case::Phase;
use trueline_conformance::check::Level;
use trueline_conformance::clause::State;
use trueline_conformance::deviation::{Deviation, DeviationState, Register};
use trueline_conformance::event::{self, Asked, CaseOutcome, Event, Shard};
use trueline_conformance::finding::{Finding, Offending};
use trueline_conformance::report::{self, Collector, EventLog, ExitCode, FailOn, MergeError, Report};

/// What a hostile service would answer to get into the page.
const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover='alert(3)' <!-- & \u{202e}";

fn broken_schema() -> Finding {
    let mut found = finding(
        "F00000body0",
        "response.schema",
        "`name` does not fit schema Agent",
        exchange(201, AGENT, Some(Offending::Body("/name".into()))),
    );
    found.evidence.shrunk = 2;
    found
}

fn no_challenge() -> Finding {
    let offending = Some(Offending::Header("WWW-Authenticate".into()));
    let mut found =
        finding("F0weak00000", "auth.challenge", "a 401 without WWW-Authenticate", exchange(401, "", offending));
    found.level = Level::Should;
    found.clause = "deleteAgent/401".into();
    found.operations = vec!["deleteAgent".into()];
    found
}

fn events_of(findings: impl IntoIterator<Item = Finding>) -> Vec<Event> {
    let mut events = vec![header(12), Event::PhaseStarted { phase: Phase::Examples, cases: 12 }];
    events.extend(cases(0, Phase::Examples, CaseOutcome::Passed, 10));
    events.extend(cases(1, Phase::Examples, CaseOutcome::Failed, 2));
    let mut ledger = mixed();
    for found in findings {
        if !ledger.iter().any(|entry| entry.clause == found.clause) {
            ledger.push(clause(&found.clause, State::Broken, None));
        }
        events.push(confirmed(found));
    }
    events.push(finished(ledger, all_good(), None));
    events
}

fn report_of(findings: impl IntoIterator<Item = Finding>) -> Report {
    collect(events_of(findings), FailOn::Must)
}

fn json_of(bytes: Result<Vec<u8>, serde_json::Error>) -> Value {
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

/// The content of every element of this name, and what stands in its start tag.
fn elements<'a>(html: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find(&open) {
        let tag = &rest[at + open.len()..];
        let start = tag.find('>').unwrap();
        let end = tag.find(&close).unwrap();
        found.push((&tag[..start], &tag[start + 1..end]));
        rest = &tag[end + close.len()..];
    }
    found
}

#[test]
fn the_page_answers_five_questions_and_allows_nothing_but_itself() {
    let html = report::to_html(&report_of([broken_schema(), no_challenge()]));
    let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is not there"));
    let order = [
        "<h1>Does not conform</h1>",
        "1 cause breaks what the contract or a standard demands, on 1 of 3 operations",
        "Can I trust this run?",
        "Is it conformant?",
        "What is wrong?",
        "How do I see it myself?",
        "What was never exercised?",
    ];
    assert!(order.map(at).is_sorted(), "{:?}", order.map(at));
    assert!(html.contains(
        "trueline check --contract ragchats --url http://127.0.0.1:8080 --profile profiles/staging.toml --seed 42 \
         --phases examples,random"
    ));
    // Nothing is loaded, and the policy lets in the page's own style and script only.
    for outside in ["src=\"", "http-equiv=\"refresh\"", "@import", "url(", " style=\"", " onclick", "fetch("] {
        assert!(!html.contains(outside), "{outside}");
    }
    let policy = html.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let digest = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes()));
    let styles = elements(&html, "style");
    assert_eq!(styles.len(), 1);
    assert!(policy.contains(&format!("style-src 'sha256-{}';", digest(styles[0].1))), "{policy}");
    let scripts = elements(&html, "script");
    assert_eq!(scripts.len(), 2);
    assert_eq!(scripts[0].0, " type=\"application/json\" id=\"data\"");
    assert_eq!(scripts[1].0, "");
    assert!(policy.contains(&format!("script-src 'sha256-{}';", digest(scripts[1].1))), "{policy}");
}

#[test]
fn the_matrix_has_a_cell_for_every_operation_and_family() {
    let html = report::to_html(&report_of([broken_schema(), no_challenge()]));
    let table = elements(&html, "table")[0].1;
    let head = elements(table, "thead")[0].1.matches("<th ").count();
    for row in elements(elements(table, "tbody")[0].1, "tr") {
        assert_eq!(row.1.matches("<td").count(), head - 1, "{}", row.1);
    }
    let cell = |operation: &str, family: &str| {
        let start =
            table.find(&format!("{operation}, {family}: ")).unwrap_or_else(|| panic!("no {operation} × {family}"));
        let class = table[..start].rfind("<td class=\"").unwrap();
        table[class + 11..].split('"').next().unwrap()
    };
    assert_eq!(cell("createAgent", "response"), "broken");
    assert_eq!(cell("deleteAgent", "auth"), "weak");
    assert_eq!(cell("listAgents", "limit"), "held");
    assert_eq!(cell("createAgent", "scope"), "open");
    assert_eq!(cell("unknown paths and methods", "error"), "held");
}

#[test]
fn what_a_service_says_stays_text_in_the_page() {
    let mut hostile = finding(
        "F0hostile00",
        "response.schema",
        HOSTILE,
        exchange(201, HOSTILE, Some(Offending::Body(String::new()))),
    );
    hostile.place.text = HOSTILE.into();
    hostile.place.file = HOSTILE.into();
    hostile.place.pointer = HOSTILE.into();
    hostile.clause = HOSTILE.into();
    hostile.expected = HOSTILE.into();
    hostile.actual = HOSTILE.into();
    hostile.operations = vec![HOSTILE.into()];
    hostile.evidence.case.id = HOSTILE.into();
    let shown = &mut hostile.evidence.exchanges[0];
    shown.request.url = HOSTILE.into();
    shown.curl = HOSTILE.into();
    shown.response.as_mut().unwrap().headers.push((HOSTILE.into(), HOSTILE.into()));
    let mut events = events_of([hostile]);
    if let Event::RunStarted(header) = &mut events[0] {
        header.title = HOSTILE.into();
        header.target = HOSTILE.into();
        header.operations[0] = HOSTILE.into();
        header.routes[0].path = HOSTILE.into();
        header.routes[0].section = HOSTILE.into();
    }
    events.push(Event::Note { text: HOSTILE.into() });
    events.push(Event::Flaky { case: HOSTILE.into(), what: HOSTILE.into() });
    events.push(Event::CaseSkipped { id: HOSTILE.into(), operation: 0, reason: HOSTILE.into() });
    let html = report::to_html(&collect(events, FailOn::Must));
    // The two scripts of the page, no third one, and the first ends where the page ends it.
    let scripts = elements(&html, "script");
    assert_eq!(scripts.len(), 2);
    let data: Value = serde_json::from_str(scripts[0].1).unwrap();
    let said = HOSTILE.replace('\u{202e}', "\\u{202e}");
    assert_eq!(data[0]["actual"], said);
    assert_eq!(data[0]["exchanges"][0]["response"]["body"][0][0], said);
    let page = html.replace(scripts[0].1, "").replace(scripts[1].1, "");
    for markup in ["<script>alert", "<img", "onerror=alert(2)>", "' <!--", "\" onmouseover"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(
        page.contains("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;&quot;")
    );
    assert!(!html.contains('\u{202e}'));
}

#[test]
fn five_thousand_findings_make_a_page_that_opens() {
    let many = (0..5_000).map(|number| {
        let mut found = broken_schema();
        found.id = format!("F{number:010}");
        found.operations = vec![OPERATIONS[number % 3].to_owned()];
        let body = format!("{{\"name\":null,\"text\":\"{}\"}}", "x".repeat(7_000));
        found.evidence.exchanges = vec![exchange(201, &body, Some(Offending::Body("/name".into())))];
        found
    });
    let html = report::to_html(&report_of(many));
    assert_eq!(html.matches("<div role=\"listitem\" id=\"F").count(), 5_000);
    assert!(html.len() < 32 << 20, "{} bytes", html.len());
    let data: Value = serde_json::from_str(elements(&html, "script")[0].1).unwrap();
    // What does not fit says less, and is there all the same.
    assert!(data[0]["exchanges"].is_array());
    assert!(data[4_999]["exchanges"].is_null() && data[4_999]["curl"].is_string());
}

#[test]
fn a_run_that_did_not_start_is_a_page_too() {
    let mut collector = Collector::new().started_at(start()).invoked_by(invocation());
    collector.take(Event::RunFailed { exit: ExitCode::Unreachable, why: "http://a.example cannot be reached".into() });
    let report = collector.finish(FailOn::Must);
    assert_eq!(report.verdict, ExitCode::Unreachable);
    let html = report::to_html(&report);
    assert!(html.contains("<h1>Did not run</h1>") && html.contains("http://a.example cannot be reached"));
    let junit = String::from_utf8(report::to_junit(&report).unwrap()).unwrap();
    assert!(junit.contains("<error message=\"http://a.example cannot be reached\"/>"), "{junit}");
    let last = show(&report).lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("NOT RUN  http://a.example cannot be reached (exit 3: "), "{last}");
    assert_eq!(json_of(report::to_sarif(&report))["runs"][0]["invocations"][0]["executionSuccessful"], false);
}

#[test]
fn sarif_points_into_the_document() {
    let mut report = report_of([broken_schema(), no_challenge()]);
    report.findings[0].place.file = "spec/my api/öpenapi#1.yaml".into();
    let mut sarif = json_of(report::to_sarif(&report));
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().clone();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], "response.schema");
    // The catalogue has snapshots of its own.
    sarif["runs"][0]["tool"]["driver"]["rules"] = json!(["…"]);
    for result in sarif["runs"][0]["results"].as_array_mut().unwrap() {
        result["ruleIndex"] = json!("…");
    }
    insta::assert_json_snapshot!("sarif", sarif);
}

#[test]
fn har_has_every_exchange_behind_a_finding() {
    let mut silent = no_challenge();
    silent.evidence.exchanges[0].response = None;
    silent.evidence.exchanges[0].failure = Some("connection ended in the middle of the answer: reset".into());
    silent.evidence.exchanges[0].request.url = "http://127.0.0.1:8080/agents/?q=a+b%26c&flag".into();
    insta::assert_json_snapshot!("har", json_of(report::to_har(&report_of([broken_schema(), silent]))));
}

#[test]
fn reports_and_events_fit_their_published_schemas() {
    let fits = |schema: &Value, value: &Value| {
        let validator = jsonschema::validator_for(schema).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    };
    let schema = report::json_schema();
    insta::assert_json_snapshot!("report_schema", schema);
    let events = events_of([broken_schema(), no_challenge()]);
    fits(&schema, &json_of(report::to_json(&collect(events.clone(), FailOn::Must))));
    fits(&schema, &json_of(report::to_json(&Collector::new().finish(FailOn::Must))));
    let schema = event::json_schema();
    insta::assert_json_snapshot!("event_schema", schema);
    for event in events.iter().chain([&asked(Register::default())]) {
        fits(&schema, &serde_json::to_value(event).unwrap());
    }
    // The schema says something: a report without its verdict does not fit.
    let mut broken = json_of(report::to_json(&report_of([])));
    broken.as_object_mut().unwrap().remove("verdict");
    assert!(!jsonschema::validator_for(&report::json_schema()).unwrap().is_valid(&broken));
}

fn asked(accepted: Register) -> Event {
    Event::RunInvoked(Box::new(Asked { at: start(), invocation: invocation(), fail_on: FailOn::Should, accepted }))
}

#[test]
fn every_report_can_be_made_again_from_the_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.ndjson");
    let mut events = vec![asked(register([deviation(&no_challenge(), "2025-12-31")]))];
    events.extend(events_of([broken_schema(), no_challenge()]));
    let mut log = EventLog::create(&path).unwrap();
    let mut collector = Collector::new();
    for event in events {
        log.write(&event).unwrap();
        collector.take(event);
    }
    let first = collector.finish_as_asked();
    let again = report::read_events(&path).unwrap().finish_as_asked();
    assert_eq!(report::to_json(&again).unwrap(), report::to_json(&first).unwrap());
    assert_eq!(report::to_html(&again), report::to_html(&first));
    assert_eq!(report::to_sarif(&again).unwrap(), report::to_sarif(&first).unwrap());
    assert_eq!((again.fail_on, again.started_at), (FailOn::Should, Some(start())));
    // A run that was killed leaves half a line behind.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 40]).unwrap();
    let cut = report::read_events(&path).unwrap().finish_as_asked();
    assert!(!cut.complete && cut.findings.len() == 2);
    std::fs::write(&path, "{\"event\":\"note\",\"data\":{\"text\":\"a\"}}\n{\"event\":\"nothing\"}\n").unwrap();
    let error = report::read_events(&path).unwrap_err().to_string();
    assert!(error.contains("events.ndjson is not a report of trueline: line 2: unknown variant `nothing`"), "{error}");
}

fn deviation(finding: &Finding, until: &str) -> Deviation {
    Deviation {
        finding: finding.id.clone(),
        check: finding.check.clone(),
        clause: finding.clause.clone(),
        title: finding.title.clone(),
        reason: "mended in the next release".into(),
        until: until.parse().unwrap(),
        case: "examples/createAgent/1".into(),
        seed: 42,
    }
}

fn register<const N: usize>(deviations: [Deviation; N]) -> Register {
    Register { file: Some(PathBuf::from("trueline-deviations.toml")), deviations: deviations.to_vec() }
}

fn run_with(accepted: Register, events: Vec<Event>) -> Report {
    let mut collector = Collector::new().started_at(start()).invoked_by(invocation()).accepting(accepted);
    events.into_iter().for_each(|event| collector.take(event));
    collector.finish(FailOn::Must)
}

fn states(report: &Report) -> Vec<DeviationState> {
    report.deviations.outcomes.iter().map(|outcome| outcome.state).collect()
}

#[test]
fn an_accepted_finding_fails_no_run_until_its_last_day_has_passed() {
    let events = events_of([broken_schema()]);
    // The run was on 1 June 2025.
    let report = run_with(register([deviation(&broken_schema(), "2025-06-01")]), events.clone());
    assert_eq!((report.verdict, states(&report)), (ExitCode::Conforms, vec![DeviationState::Accepted]));
    insta::assert_snapshot!("accepted", show(&report));
    let junit = String::from_utf8(report::to_junit(&report).unwrap()).unwrap();
    assert!(!junit.contains("<failure") && junit.contains("(accepted until 2025-06-01: mended in the next release)"));
    let sarif = json_of(report::to_sarif(&report));
    assert_eq!(sarif["runs"][0]["results"][0]["suppressions"][0]["status"], "accepted");
    let html = report::to_html(&report);
    assert!(html.contains("<h1>Conforms</h1>") && html.contains("1 deviation is accepted by the owner"));

    let report = run_with(register([deviation(&broken_schema(), "2025-05-31")]), events);
    assert_eq!((report.verdict, states(&report)), (ExitCode::Findings, vec![DeviationState::Expired]));
    assert!(show(&report).contains("Accepted once, and past the last day"), "{}", show(&report));
    assert!(json_of(report::to_sarif(&report))["runs"][0]["results"][0]["suppressions"].is_null());
}

#[test]
fn a_deviation_that_is_gone_fails_as_stale_if_its_case_was_judged() {
    let mut gone = broken_schema();
    gone.clause = "createAgent/201".into();
    let accepted = |change: &dyn Fn(&mut Deviation)| {
        let mut one = deviation(&gone, "2025-12-31");
        change(&mut one);
        run_with(register([one]), events_of([]))
    };
    let report = accepted(&|_| {});
    assert_eq!((report.verdict, states(&report)), (ExitCode::Findings, vec![DeviationState::Stale]));
    insta::assert_snapshot!("stale", show(&report));
    let junit = String::from_utf8(report::to_junit(&report).unwrap()).unwrap();
    assert!(junit.contains("stale: F00000body0 is not there any more"), "{junit}");
    let sarif = json_of(report::to_sarif(&report));
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "deviation.stale");
    assert!(report::to_html(&report).contains("1 stale deviation to be taken out of the list"));
    // Its case was not sent, its clause did not hold, or it was another random case: nobody knows.
    let unknown: [&dyn Fn(&mut Deviation); 3] =
        [&|one| one.case = "examples/createAgent/99".into(), &|one| one.clause = "createAgent/409".into(), &|one| {
            (one.case, one.seed) = ("random/createAgent/1".into(), 7)
        }];
    for change in unknown {
        let report = accepted(change);
        assert_eq!((report.verdict, states(&report)), (ExitCode::Conforms, vec![DeviationState::NotSeen]));
    }
}

#[test]
fn the_file_of_deviations_keeps_what_people_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deviations.toml");
    Register::append(&path, &[deviation(&broken_schema(), "2025-12-31")]).unwrap();
    insta::assert_snapshot!("deviations_file", std::fs::read_to_string(&path).unwrap());
    let commented = std::fs::read_to_string(&path).unwrap() + "# ask Dana\n";
    std::fs::write(&path, &commented).unwrap();
    Register::append(&path, &[deviation(&no_challenge(), "2026-01-31")]).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().starts_with(&commented));
    let read = Register::read(&path).unwrap();
    assert_eq!(read.deviations, [deviation(&broken_schema(), "2025-12-31"), deviation(&no_challenge(), "2026-01-31")]);
    let error = Register::append(&path, &[deviation(&no_challenge(), "2026-02-28")]).unwrap_err().to_string();
    assert!(error.contains("has accepted F0weak00000 already, until 2026-01-31"), "{error}");

    let mut page = String::new();
    let written = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("reason = \"mended", "raison = \"mended"),
        ("reason = \"mended in the next release\"", "reason = \" \""),
        ("until = \"2025-12-31\"", "until = \"soon\""),
        ("F0weak00000", "F00000body0"),
    ] {
        std::fs::write(&path, written.replacen(from, to, 1)).unwrap();
        let error = Register::read(&path).unwrap_err().to_string();
        page.push_str(&error.replace(&folder.path().display().to_string(), "…"));
        page.push_str("\n\n");
    }
    insta::assert_snapshot!("deviations_mistakes", page);
}

fn shard(index: u32, of: u32, findings: impl IntoIterator<Item = Finding>) -> (String, Report) {
    let mut events = events_of(findings);
    if let Event::RunStarted(header) = &mut events[0] {
        header.shard = Some(Shard { index, of });
    }
    (format!("shard-{index}.json"), collect(events, FailOn::Must))
}

#[test]
fn shards_make_one_report() {
    let mut bigger = broken_schema();
    bigger.evidence.exchanges[0].request.body_bytes = 4_000;
    bigger.operations = vec!["listAgents".into()];
    let merged = report::merge(vec![shard(2, 2, [broken_schema(), no_challenge()]), shard(1, 2, [bigger])]).unwrap();
    assert_eq!(merged.verdict, ExitCode::Findings);
    assert_eq!(merged.totals.planned, 24);
    assert_eq!((merged.totals.passed, merged.totals.failed, merged.phases[0].cases), (20, 4, 24));
    assert_eq!(merged.findings.len(), 2);
    assert_eq!((merged.findings[0].cases, merged.findings[0].operations.len()), (2, 2));
    assert_eq!(merged.findings[0].evidence.exchanges[0].request.body_bytes, 12);
    assert_eq!(merged.operations[0].checks["response.status"].held, 2_400);
    assert_eq!(merged.run.as_ref().unwrap().shard, None);
    assert_eq!(merged.operations[1].statuses[&201], 600);
}

#[test]
fn what_is_no_set_of_shards_is_not_merged() {
    let fails = |reports: Vec<(String, Report)>| report::merge(reports).unwrap_err().to_string();
    assert_eq!(report::merge(Vec::new()).unwrap_err(), MergeError::Nothing);
    let whole = ("whole.json".to_owned(), report_of([]));
    let mut other = shard(2, 2, []);
    other.1.run.as_mut().unwrap().seed = 7;
    let mut failed = shard(2, 2, []);
    (failed.1.run, failed.1.failure) = (None, Some("nobody is there".into()));
    let page = [
        fails(vec![whole]),
        fails(vec![shard(1, 3, []), shard(3, 3, [])]),
        fails(vec![shard(1, 2, []), shard(1, 2, [])]),
        fails(vec![shard(1, 2, []), other]),
        fails(vec![shard(1, 2, []), failed]),
    ];
    insta::assert_snapshot!("merge_mistakes", page.join("\n"));
}
