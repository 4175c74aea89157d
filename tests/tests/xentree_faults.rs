//! Every fault seeded into xentree is found, by the check that names it. The kill matrix says what else fired.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fmt::Write;

use futures::StreamExt;
use trueline_tests::xentree::{faults, suite_for, xentree};

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_found_by_the_check_that_names_it() {
    let mut matrix = String::new();
    let mut missed = Vec::new();
    let faults = faults();
    // A run judges in one task: as many at once as there are processors.
    let runs = futures::stream::iter(faults.clone()).map(|fault| {
        tokio::spawn(async move {
            let service = xentree(Some(fault)).await.unwrap();
            suite_for(service.profile, &fault).unwrap().seed(1).run(service.target).await.unwrap()
        })
    });
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut reports = runs.buffered(processors).zip(futures::stream::iter(faults.clone()));
    while let Some((report, fault)) = reports.next().await {
        let report = report.unwrap();
        let found: BTreeSet<&str> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
        if !found.contains(fault.check) {
            missed.push(fault.name);
        }
        let others: Vec<&str> = found.iter().copied().filter(|check| *check != fault.check).collect();
        let mark = if found.contains(fault.check) { "found" } else { "MISSED" };
        let also = if others.is_empty() { String::new() } else { format!("  also {}", others.join(", ")) };
        // What else is found hangs on whose rate window was spent when, which eight workers settle anew in every run.
        writeln!(matrix, "{mark} {:<42} {}", fault.name, fault.check).unwrap();
        eprintln!("{mark} {} {}{also}", fault.name, fault.check);
    }
    let count = faults.len();
    insta::assert_snapshot!(
        "xentree_kill_matrix",
        format!("{matrix}\n{} of {count} faults found\n", count - missed.len())
    );
    assert!(missed.is_empty(), "missed: {missed:?}");
}

#[test]
fn fault_names_are_unique_and_their_checks_exist() {
    let faults = faults();
    let names: BTreeSet<&str> = faults.iter().map(|fault| fault.name).collect();
    assert_eq!(names.len(), faults.len());
    for fault in &faults {
        assert!(trueline_conformance::check::find(fault.check).is_some(), "{}", fault.check);
    }
    let named = |family: &str| faults.iter().filter(|fault| fault.check.starts_with(family)).count();
    assert!(faults.len() >= 40 && named("scope.") + named("tenancy.") + named("state.") >= 15);
}
