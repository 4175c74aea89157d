//! The clean smartsbio service holds its contract, in process, and every seeded fault is found by the check that names it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fmt::Write;

use trueline_conformance::clause::State;
use trueline_tests::smartsbio::{FAULTS, smartsbio, suite};

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_service_has_no_findings() {
    quiet(0..1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo nextest run --run-ignored all"]
async fn the_clean_service_has_no_findings_over_twenty_seeds() {
    quiet(0..20).await;
}

async fn quiet(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let service = smartsbio(None).await.unwrap();
        let report = suite(service.profile).unwrap().seed(seed).run(service.target).await.unwrap();
        assert!(report.findings.is_empty(), "seed {seed}: {:#?}", report.findings);
        assert!(report.flaky.is_empty(), "seed {seed}: {:#?}", report.flaky);
        assert!(report.complete && report.interrupted.is_none());
        for operation in &report.operations {
            let success = operation.statuses.keys().any(|status| (200..300).contains(status));
            assert!(success, "seed {seed}: no success of {}: {:?}", operation.id, operation.statuses);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_and_code_below_500_is_provoked_and_what_is_not_exercised_says_why() {
    let service = smartsbio(None).await.unwrap();
    let report = suite(service.profile).unwrap().run(service.target).await.unwrap();
    let unexercised = || report.ledger.iter().filter(|entry| entry.state == State::NotExercised);
    let silent: Vec<_> = unexercised().filter(|entry| entry.reason.as_deref().unwrap_or_default().is_empty()).collect();
    assert!(silent.is_empty(), "{silent:#?}");
    let statuses: Vec<&str> = unexercised()
        .filter_map(|entry| entry.clause.split_once('/').map(|(_, status)| (entry.clause.as_str(), status)))
        .filter(|(_, status)| status.parse::<u16>().is_ok_and(|status| status < 500))
        .map(|(clause, _)| clause)
        .collect();
    // A file is named by a path there, a conversation and a run by what a list narrows to: either may be anything. The
    // report says so.
    assert_eq!(
        statuses,
        ["listPipelineRuns/404", "listConversations/404", "createViewerUrl/404", "createRender/404"],
        "statuses below 500 that nothing provoked"
    );
    // A code that nothing provokes anywhere is one that the demonstration cannot bring about.
    let code = |clause: &str| clause.split_once("/code/").map(|(_, code)| code.to_owned());
    let codes: BTreeSet<String> = report.ledger.iter().filter_map(|entry| code(&entry.clause)).collect();
    let held = report.ledger.iter().filter(|entry| entry.state == State::Held);
    let provoked: BTreeSet<String> = held.filter_map(|entry| code(&entry.clause)).collect();
    let missing: Vec<&String> = codes.difference(&provoked).collect();
    assert_eq!(missing, ["agent_error", "internal_error"], "nothing makes a clean service fail");
    for clause in ["contract/rate-limits/per-key", "contract/quotas/compute"] {
        let entry = report.ledger.iter().find(|entry| entry.clause == clause).unwrap();
        assert_eq!(entry.state, State::Held, "{clause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_found_by_the_check_that_names_it() {
    let mut matrix = String::new();
    let mut missed = Vec::new();
    for fault in FAULTS {
        let service = smartsbio(Some(*fault)).await.unwrap();
        let report = suite(service.profile).unwrap().seed(1).run(service.target).await.unwrap();
        let found: BTreeSet<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
        if !found.contains(fault.check) {
            missed.push(fault.name);
        }
        let others: Vec<&str> = found.iter().copied().filter(|check| *check != fault.check).collect();
        let mark = if found.contains(fault.check) { "found" } else { "MISSED" };
        let also = if others.is_empty() { String::new() } else { format!("  also {}", others.join(", ")) };
        // What else is found hangs on whose rate window was spent when, which eight workers settle anew in every run.
        writeln!(matrix, "{mark} {:<36} {}", fault.name, fault.check).unwrap();
        eprintln!("{mark} {} {}{also}", fault.name, fault.check);
    }
    let count = FAULTS.len();
    insta::assert_snapshot!(
        "smartsbio_kill_matrix",
        format!("{matrix}\n{} of {count} faults found\n", count - missed.len())
    );
    assert!(missed.is_empty(), "missed: {missed:?}");
}

#[test]
fn fault_names_are_unique_and_their_checks_exist() {
    let names: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.name).collect();
    assert_eq!(names.len(), FAULTS.len());
    for fault in FAULTS {
        assert!(trueline_conformance::check::find(fault.check).is_some(), "{}", fault.check);
    }
}
