//! A second service with a document without any extension: quiet when it is right, and every one of its faults is found by
//! the check that names it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fmt::Write;

use trueline_conformance::event::Event;
use trueline_conformance::run::RunOptions;
use trueline_tests::depot::{FAULTS, depot};

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_depot_has_no_findings_over_twenty_seeds() {
    for seed in 0..20 {
        let (suite, target) = depot("").unwrap();
        let report = suite.seed(seed).run(target).await.unwrap();
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
async fn every_fault_of_the_depot_is_found_by_the_check_that_names_it() {
    let mut matrix = String::new();
    let mut missed = Vec::new();
    for (fault, check) in FAULTS {
        let (suite, target) = depot(fault).unwrap();
        let report = suite.seed(1).run(target).await.unwrap();
        let found: BTreeSet<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
        if !found.contains(check) {
            missed.push(*fault);
        }
        let others: Vec<&str> = found.iter().copied().filter(|one| one != check).collect();
        let mark = if found.contains(check) { "found" } else { "MISSED" };
        let also = if others.is_empty() { String::new() } else { format!("  also {}", others.join(", ")) };
        writeln!(matrix, "{mark} {fault:<36} {check}{also}").unwrap();
    }
    let count = FAULTS.len();
    insta::assert_snapshot!(
        "depot_kill_matrix",
        format!("{matrix}\n{} of {count} faults found\n", count - missed.len())
    );
    assert!(missed.is_empty(), "missed: {missed:?}");
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
