//! A second service with a document without any extension: quiet when it is right, and every one of its faults is found by
//! the check that names it. With an overlay that adds the vocabulary, likewise.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use trueline_conformance::event::Event;
use trueline_conformance::run::RunOptions;
use trueline_conformance::selftest::{self, Outcome, Service};
use trueline_tests::depot::{FAULTS, FAULTS_IN_WORDS, depot};
use trueline_tests::faults::FAULTS as RAGCHATS;

/// Fifty take minutes without optimization: `trueline selftest --seeds 50`.
const SEEDS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_depot_has_no_findings_over_twenty_seeds() {
    let services = Service::all().unwrap();
    let jobs = selftest::jobs(&services, SEEDS, |_| false);
    let outcomes = selftest::run(services, jobs, |_| {}).await.unwrap();
    assert_eq!(outcomes.len(), 40);
    for outcome in outcomes {
        assert!(outcome.passed(), "{}", outcome.line());
        assert!(outcome.without_success.is_empty(), "{}: {:?}", outcome.line(), outcome.without_success);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_depot_is_found_by_the_check_that_names_it() {
    let services = Service::all().unwrap();
    let jobs = selftest::jobs(&services, 0, |_| true);
    let outcomes = selftest::run(services, jobs, |_| {}).await.unwrap();
    let lines: Vec<String> = outcomes.iter().map(Outcome::line).collect();
    insta::assert_snapshot!("depot_kill_matrix", format!("{}\n\n{}", lines.join("\n"), selftest::summary(&outcomes)));
    let missed: Vec<&String> =
        lines.iter().zip(&outcomes).filter(|(_, one)| !one.passed()).map(|(line, _)| line).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Which fault proves which check; a check without one is not done.
#[test]
fn every_check_has_a_seeded_fault() {
    let of_depot = FAULTS.iter().map(|fault| (fault.check, format!("depot {}", fault.name)));
    let in_words = FAULTS_IN_WORDS.iter().map(|fault| (fault.check, format!("depot-in-words {}", fault.name)));
    let of_ragchats = RAGCHATS.iter().map(|fault| (fault.check, format!("ragchats {}", fault.name)));
    let mut proofs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (check, fault) in of_depot.chain(in_words).chain(of_ragchats) {
        assert!(trueline_conformance::check::find(check).is_some(), "{fault}: there is no check {check}");
        proofs.entry(check).or_default().push(fault);
    }
    let mut page = String::new();
    for check in trueline_conformance::check::all() {
        let meta = check.meta();
        let of = proofs.get(meta.id).map(Vec::as_slice).unwrap_or_default();
        assert!(!of.is_empty(), "{} has no seeded fault", meta.id);
        writeln!(page, "{}: {}", meta.id, meta.fault).unwrap();
        of.iter().for_each(|fault| writeln!(page, "    {fault}").unwrap());
    }
    insta::assert_snapshot!("every_check_and_its_faults", page);
}

#[test]
fn the_catalogue_is_wide_enough() {
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in FAULTS {
        *families.entry(fault.check.split('.').next().unwrap()).or_default() += 1;
    }
    for family in
        ["response", "error", "auth", "scope", "input", "limit", "state", "tenancy", "secret", "method", "time"]
    {
        assert!(families.get(family).is_some_and(|count| *count >= 3), "{family}: {families:?}");
    }
    assert!(FAULTS.len() + FAULTS_IN_WORDS.len() + RAGCHATS.len() >= 120);
    for catalogue in [FAULTS, FAULTS_IN_WORDS] {
        let names: BTreeSet<&str> = catalogue.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), catalogue.len());
    }
    // The document goes without the vocabulary; only the overlay brings it.
    assert!(!trueline_tests::depot::DOCUMENT.lines().any(|line| line.trim_start().starts_with("x-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_are_the_same_cases_with_one_worker_and_with_eight() {
    let mut runs = Vec::new();
    for workers in [1, 8] {
        let (suite, target) = depot("").unwrap();
        let options = RunOptions { workers, ..RunOptions::default() };
        let mut cases = Vec::new();
        suite
            .seed(7)
            .options(options)
            .run_watched(target, |event| match event {
                Event::CaseFinished { id, outcome, .. } => cases.push(format!("{id} {outcome:?}")),
                Event::CaseSkipped { id, reason, .. } => cases.push(format!("{id} skipped: {reason}")),
                _ => {}
            })
            .await
            .unwrap();
        cases.sort();
        runs.push(cases);
    }
    assert!(runs[0].iter().any(|case| case.starts_with("stateful/")));
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_sequence_keeps_only_the_steps_that_it_needs() {
    let (suite, target) = depot("second-delete-succeeds").unwrap();
    let report = suite.seed(0).run(target).await.unwrap();
    let finding = report.findings.iter().find(|finding| finding.check == "state.repeat-delete").unwrap();
    let asked: Vec<String> = finding
        .evidence
        .exchanges
        .iter()
        .map(|one| format!("{} {}", one.request.method, one.response.as_ref().map_or(0, |response| response.status)))
        .collect();
    // The reading in between is gone; the three deletions and what they delete are all needed.
    assert_eq!(asked, ["POST 201", "DELETE 204", "DELETE 204", "DELETE 404"]);
}
