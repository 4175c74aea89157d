//! What people and build systems get to read, for every state a run can end in. The snapshots are reviewed like prose.

mod fixtures;

use fixtures::*;
use trueline_conformance::case::Phase;
use trueline_conformance::check::{Level, Meta};
use trueline_conformance::clause::State;
use trueline_conformance::event::{CaseOutcome, Event};
use trueline_conformance::finding::Offending;
use trueline_conformance::finding::RecordedExchange;
use trueline_conformance::report::terminal::{self, Layout};
use trueline_conformance::report::{self, EventLog, ExitCode, FailOn, INTERRUPTED, Report};

#[test]
fn a_clean_run() {
    let mut events = vec![header(1_011), Event::PhaseStarted { phase: Phase::Examples, cases: 1_011 }];
    events.extend(cases(0, Phase::Examples, CaseOutcome::Passed, 712));
    events.extend(cases(1, Phase::Examples, CaseOutcome::Passed, 299));
    events.push(finished(held(), all_good(), None));
    let report = collect(events, FailOn::Must);
    assert_eq!(report.verdict, ExitCode::Conforms);
    insta::assert_snapshot!("clean", show(&report));
}

#[test]
fn findings_of_every_kind() {
    let body = finding(
        "F00000body0",
        "response.schema",
        "`name` does not fit schema Agent",
        exchange(201, AGENT, Some(Offending::Body("/name".into()))),
    );
    let mut body_many = body.clone();
    body_many.operations = (0..40).map(|number| format!("operation{number}")).collect();
    body_many.operations[7] = "createAgent".into();
    body_many.cases = 1_240;
    body_many.evidence.shrunk = 3;
    let mut missing = finding(
        "F0missing00",
        "response.schema",
        "a required property is missing",
        exchange(201, r#"{"id":"a1","config":{"temperature":0.2}}"#, Some(Offending::Body("/config/model".into()))),
    );
    missing.help = Some("return `model`, or take it out of `required`".into());
    missing.expected = "`model` is there, because the schema of the agent's configuration requires it in every answer \
                        that shows an agent to somebody who may change it"
        .into();
    let mut status =
        finding("F0status000", "response.status", "an undocumented status", exchange(418, "", Some(Offending::Status)));
    status.expected = "one of 201, 400, 401, 403, 429, 500".into();
    status.actual = "418".into();
    let header_bad = finding(
        "F0header000",
        "limit.countdown",
        "the counter does not count",
        exchange(201, AGENT, Some(Offending::Header("X-RateLimit-Remaining".into()))),
    );
    let mut header_gone = finding(
        "F0absent000",
        "limit.headers",
        "a rate-limit header is missing",
        exchange(201, AGENT, Some(Offending::Header("X-RateLimit-Reset".into()))),
    );
    header_gone.level = Level::Should;
    let whole = finding(
        "F0whole0000",
        "error.envelope",
        "an error is no envelope",
        exchange(404, "<html>\n<body>\x1b[31mnot found</body>\n</html>", Some(Offending::Body(String::new()))),
    );
    let mut silent = finding("F0silent000", "input.no-server-error", "the connection is cut", exchange(200, "", None));
    silent.evidence.exchanges[0].response = None;
    silent.evidence.exchanges[0].failure = Some("connection ended in the middle of the answer: reset".into());
    let mut sequence = finding(
        "F0sequence0",
        "limit.enforced",
        "one request too many passes",
        exchange(200, "[]", Some(Offending::Status)),
    );
    let counted: Vec<RecordedExchange> = (0..4).map(|_| exchange(200, "[]", None)).collect();
    sequence.evidence.exchanges.splice(0..0, counted);
    sequence.evidence.left_out = 56;
    sequence.place.text = String::new();

    let mut events = vec![header(1_400), Event::PhaseStarted { phase: Phase::Examples, cases: 1_400 }];
    events.extend(cases(0, Phase::Examples, CaseOutcome::Passed, 100));
    events.extend(cases(1, Phase::Examples, CaseOutcome::Failed, 1_247));
    events.extend([body, status, header_bad, header_gone, whole, silent, sequence, missing, body_many].map(confirmed));
    let mut ledger = mixed();
    ledger.push(clause("createAgent/201/schema", State::Broken, None));
    events.push(finished(ledger, all_good(), None));
    let report = collect(events, FailOn::Must);
    assert_eq!(report.verdict, ExitCode::Findings);
    insta::assert_snapshot!("findings", show(&report));
}

#[test]
fn a_long_body_is_cut_to_what_matters() {
    let items: Vec<serde_json::Value> = (0..60)
        .map(|number| serde_json::json!({"id": number, "note": if number == 41 { "x".repeat(300) } else { "short".into() }}))
        .collect();
    let body = serde_json::Value::from(items).to_string();
    let long = finding(
        "F00000long0",
        "response.schema",
        "`note` is too long",
        exchange(200, &body, Some(Offending::Body("/41/note".into()))),
    );
    let report = collect([header(1), confirmed(long)], FailOn::Must);
    let layout = Layout { columns: 70, ..Layout::default() };
    insta::assert_snapshot!("long_body", terminal::finding(&report, &report.findings[0], &layout));
}

#[test]
fn flaky_cases_notes_and_skipped_ones() {
    let mut events = vec![header(20), Event::PhaseStarted { phase: Phase::Random, cases: 20 }];
    events.extend(cases(0, Phase::Random, CaseOutcome::Passed, 10));
    events.extend(cases(0, Phase::Random, CaseOutcome::Inconclusive, 1));
    let skip = |number: u64, reason: &str| Event::CaseSkipped {
        id: format!("random/createAgent/valid/{number}"),
        operation: 1,
        reason: reason.into(),
    };
    events.extend(
        (0..8).map(|number| skip(number, "rate class `agent-query` is spent for every principal of the profile")),
    );
    events.push(skip(8, "login failed: createToken answered 500"));
    events.push(Event::Flaky {
        case: "random/listAgents/valid/7".into(),
        what: "response.status: an undocumented status (503, then 200)".into(),
    });
    events.push(Event::ClockAdvanced { seconds: 3_601, why: "rate class `authenticated` is spent".into() });
    events.push(Event::Note {
        text: "no value can be made for the schema at agents.yaml:80:9: its pattern has none".into(),
    });
    let statuses = statuses(&[
        ("listAgents", &[(200, 10), (503, 1)]),
        ("createAgent", &[(400, 3), (401, 1)]),
        ("deleteAgent", &[]),
    ]);
    events.push(finished(mixed(), statuses, Some("the budget of 1530 requests is spent")));
    let report = collect(events, FailOn::Must);
    assert_eq!(report.verdict, ExitCode::Conforms);
    insta::assert_snapshot!("flaky", show(&report));
}

#[test]
fn an_interrupted_run() {
    let mut events = vec![header(500), Event::PhaseStarted { phase: Phase::Boundary, cases: 500 }];
    events.extend(cases(0, Phase::Boundary, CaseOutcome::Passed, 120));
    let found = finding(
        "F00000body0",
        "response.schema",
        "`name` does not fit schema Agent",
        exchange(201, AGENT, Some(Offending::Body("/name".into()))),
    );
    events.push(confirmed(found));
    events.push(finished(held(), all_good(), Some(INTERRUPTED)));
    let report = collect(events, FailOn::Must);
    assert_eq!(report.verdict, ExitCode::Interrupted);
    insta::assert_snapshot!("interrupted", terminal::render(&report, &Layout { quiet: true, ..Layout::default() }));
}

#[test]
fn nothing_tested_is_not_success() {
    let mut events = vec![header(3), Event::PhaseStarted { phase: Phase::Examples, cases: 3 }];
    events.extend(cases(0, Phase::Examples, CaseOutcome::Inconclusive, 3));
    let reason = Some("no valid request was answered with it; see the operation's other answers");
    let ledger = vec![clause("listAgents/200", State::NotExercised, reason)];
    events.push(finished(ledger, statuses(&[("listAgents", &[])]), None));
    let report = collect(events, FailOn::Must);
    assert_eq!(report.verdict, ExitCode::NothingTested);
    insta::assert_snapshot!("nothing_tested", show(&report));
    let junit = String::from_utf8(report::to_junit(&report).expect("it serializes")).expect("it is text");
    assert!(junit.contains("<error message=\"nothing was tested\"/>"), "{junit}");
}

#[test]
fn a_run_that_broke_off_says_so() {
    let mut events = vec![header(30), Event::PhaseStarted { phase: Phase::Examples, cases: 30 }];
    events.extend(cases(0, Phase::Examples, CaseOutcome::Passed, 3));
    let report = collect(events, FailOn::Must);
    assert!(!report.complete);
    assert!(show(&report).contains("the run broke off"), "{}", show(&report));
}

#[test]
fn only_must_findings_fail_unless_asked() {
    let mut weak = finding(
        "F0weak00000",
        "auth.challenge",
        "a 401 without WWW-Authenticate",
        exchange(401, "", Some(Offending::Header("WWW-Authenticate".into()))),
    );
    weak.level = Level::Should;
    let mut events = vec![header(1), Event::PhaseStarted { phase: Phase::Access, cases: 1 }];
    events.extend(cases(0, Phase::Access, CaseOutcome::Failed, 1));
    events.push(confirmed(weak));
    events.push(finished(held(), all_good(), None));
    let lenient = collect(events.clone(), FailOn::Must);
    let strict = collect(events, FailOn::Should);
    assert_eq!((lenient.verdict, strict.verdict), (ExitCode::Conforms, ExitCode::Findings));
    let last = |report: &Report| show(report).lines().last().unwrap_or_default().to_owned();
    insta::assert_snapshot!("should_findings", format!("{}\n{}", last(&lenient), last(&strict)));
}

#[test]
fn more_findings_than_anybody_reads_get_a_line_each() {
    let many = (0..30).map(|number| {
        let exchange = exchange(201, AGENT, Some(Offending::Body("/name".into())));
        confirmed(finding(&format!("F{number:010}"), "response.schema", "`name` does not fit schema Agent", exchange))
    });
    let report = collect([header(30)].into_iter().chain(many), FailOn::Must);
    let text = show(&report);
    assert_eq!(text.matches("\n  replay: ").count(), 25);
    assert!(text.contains("F0000000029"), "{text}");
}

#[test]
fn colours_are_codes_around_the_same_text() {
    let found = finding(
        "F00000body0",
        "response.schema",
        "`name` does not fit schema Agent",
        exchange(201, AGENT, Some(Offending::Body("/name".into()))),
    );
    let report = collect([header(1), confirmed(found), finished(mixed(), all_good(), None)], FailOn::Must);
    let coloured = terminal::render(&report, &Layout { colour: true, ..Layout::default() });
    assert!(coloured.contains("\x1b[1;31m"));
    let mut stripped = String::new();
    for (index, part) in coloured.split('\x1b').enumerate() {
        stripped.push_str(if index == 0 { part } else { part.split_once('m').map_or(part, |(_, rest)| rest) });
    }
    let plain = terminal::render(&report, &Layout::default());
    assert_eq!(stripped, plain);
    assert!(!plain.contains('\x1b'));
}

#[test]
fn what_a_service_says_cannot_touch_the_terminal() {
    let hostile = "{\"name\":\"\\u001b]0;owned\\u0007\\u202e\"}";
    let mut found =
        finding("F0hostile00", "response.schema", "odd \x1b[2J title", exchange(201, hostile, Some(Offending::Status)));
    found.actual = "\x1b[1mvalue\r".into();
    found.evidence.exchanges[0].response.as_mut().expect("a response").headers[0].1 = "a\x07b".into();
    let report = collect([header(1), confirmed(found)], FailOn::Must);
    let text = show(&report);
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
}

#[test]
fn a_later_finding_with_the_same_id_grows_the_first() {
    let exchange = |body: &str| exchange(201, body, None);
    let mut first = finding("F1", "response.schema", "t", exchange(AGENT));
    first.evidence.exchanges[0].request.body_bytes = 500;
    let mut second = first.clone();
    second.operations = vec!["listAgents".into()];
    second.cases = 7;
    second.evidence.exchanges[0].request.body_bytes = 5;
    let mut third = first.clone();
    third.cases = 3;
    let report = collect([header(1), confirmed(first), confirmed(second), confirmed(third)], FailOn::Must);
    let merged = &report.findings[0];
    assert_eq!((report.findings.len(), merged.cases), (1, 7));
    assert_eq!(merged.operations, ["createAgent", "listAgents"]);
    assert_eq!(merged.evidence.exchanges[0].request.body_bytes, 5);
}

#[test]
fn junit_has_a_case_for_every_clause() {
    let found = finding(
        "F00000body0",
        "response.schema",
        "`name` does not fit schema Agent",
        exchange(201, AGENT, Some(Offending::Body("/name".into()))),
    );
    let mut weak = finding("F0weak00000", "auth.challenge", "no challenge", exchange(401, "", None));
    weak.level = Level::Should;
    weak.clause = "deleteAgent/401/header".into();
    weak.operations = vec!["deleteAgent".into()];
    let mut events = vec![header(3), Event::PhaseStarted { phase: Phase::Examples, cases: 3 }];
    events.extend(cases(0, Phase::Examples, CaseOutcome::Passed, 2));
    events.extend(cases(1, Phase::Examples, CaseOutcome::Failed, 1));
    events.extend([confirmed(found), confirmed(weak)]);
    let mut ledger = mixed();
    ledger.push(clause("createAgent/201/schema", State::Broken, None));
    ledger.push(clause("deleteAgent/401/header", State::Broken, None));
    events.push(finished(ledger, all_good(), None));
    let report = collect(events, FailOn::Must);
    let junit = String::from_utf8(report::to_junit(&report).expect("it serializes")).expect("it is text");
    insta::assert_snapshot!("junit", junit);
}

#[test]
fn json_reads_back_as_it_was_written() {
    let found = finding(
        "F00000body0",
        "response.schema",
        "`name` does not fit schema Agent",
        exchange(201, AGENT, Some(Offending::Body("/name".into()))),
    );
    let mut events = vec![header(3), Event::PhaseStarted { phase: Phase::Examples, cases: 3 }];
    events.extend(cases(1, Phase::Examples, CaseOutcome::Failed, 3));
    events.push(confirmed(found));
    events.push(finished(mixed()[..8].to_vec(), all_good(), None));
    let report = collect(events, FailOn::Must);
    let json = report::to_json(&report).expect("it serializes");
    insta::assert_snapshot!("json", String::from_utf8_lossy(&json));

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/er/report.json");
    report::write_whole(&path, &json).expect("it is written");
    let again = report::read_json(&path).expect("it reads back");
    assert_eq!(report::to_json(&again).expect("it serializes"), json);
    let left: Vec<_> = std::fs::read_dir(path.parent().expect("a folder")).expect("a folder").collect();
    assert_eq!(left.len(), 1, "no temporary file stays: {left:?}");
}

#[test]
fn a_report_of_another_format_is_refused_by_its_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.json");
    std::fs::write(&path, r#"{"format": 7, "future": true}"#).expect("it is written");
    let error = report::read_json(&path).expect_err("another format").to_string();
    assert!(error.ends_with("is a report of format 7; this version of trueline reads format 1"), "{error}");
    std::fs::write(&path, "{").expect("it is written");
    let error = report::read_json(&path).expect_err("no JSON").to_string();
    assert!(error.contains("is not a report of trueline"), "{error}");
}

#[test]
fn what_cannot_be_written_names_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("it is written");
    let error = report::write_whole(&file.join("report.json"), b"x").expect_err("a file is no folder");
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    assert!(error.to_string().contains("report.json"), "{error}");
    let error = report::write_whole(folder.path(), b"x").expect_err("a folder is no file");
    assert!(error.to_string().contains("it is a folder"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_once_and_ends_only_the_log() {
    let mut log = EventLog::create(std::path::Path::new("/dev/full")).expect("it opens");
    let error = log.write(&header(1)).expect_err("the disk is full");
    assert!(error.to_string().contains("/dev/full"), "{error}");
    log.write(&header(1)).expect("said once");
    let error = report::write_whole(std::path::Path::new("/dev/full"), b"x").expect_err("the disk is full");
    assert!(error.to_string().contains("/dev/full"), "{error}");
    assert!(std::path::Path::new("/dev/full").metadata().is_ok_and(|device| !device.is_file()), "it is still a device");
}

#[test]
fn events_read_back_line_by_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.ndjson");
    let mut log = EventLog::create(&path).expect("it opens");
    let found = finding("F1", "response.schema", "t", exchange(201, AGENT, Some(Offending::Status)));
    let mut events = vec![header(2), Event::PhaseStarted { phase: Phase::Examples, cases: 2 }];
    events.extend(cases(0, Phase::Examples, CaseOutcome::Passed, 2));
    events.push(confirmed(found));
    events.push(Event::Note { text: "two\nlines".into() });
    events.push(finished(held(), all_good(), None));
    events.iter().for_each(|event| log.write(event).expect("it is written"));
    let text = std::fs::read_to_string(&path).expect("it reads");
    assert_eq!(text.lines().count(), events.len());
    let again: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let json = |events: Vec<Event>| report::to_json(&collect(events, FailOn::Must)).expect("it serializes");
    assert_eq!(json(again), json(events));
}

#[test]
fn explain_shows_all_there_is_to_know() {
    let meta = Meta {
        id: "response.status",
        level: Level::Must,
        title: "only documented statuses are answered",
        rationale: "A client is written against the documented statuses; one that is not in the document is a case that \
                    nobody handles. OpenAPI 3.0.3, \"Responses Object\".",
        sends: "Nothing of its own: every answer is looked at.",
        demands: "The status, its range (`4XX`) or `default` stands under the operation's responses.",
        guards: "Answers to requests that match no operation are not looked at.",
        fault: "Creating an agent answers 200 where 201 is documented.",
    };
    insta::assert_snapshot!("explain", terminal::explain(&meta, &Layout::default()));
}
