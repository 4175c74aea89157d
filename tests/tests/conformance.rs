//! The clean service holds its contract, in process, on a clock that runs through hour-long windows in microseconds.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;

use trueline_conformance::clause::State;
use trueline_conformance::event::Event;
use trueline_conformance::run::RunOptions;
use trueline_tests::{ragchats, ragchats_over_tcp, suite};

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_service_has_no_findings_over_twenty_seeds() {
    for seed in 0..20 {
        let service = ragchats(None).await.unwrap();
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
async fn the_clean_service_has_no_findings_over_tcp() {
    let service = ragchats_over_tcp().await.unwrap();
    let report = suite(service.profile).unwrap().run(service.target).await.unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.flaky.is_empty(), "{:#?}", report.flaky);
    assert!(report.complete && report.interrupted.is_none());
    let unanswered: Vec<_> = report
        .operations
        .iter()
        .filter(|operation| !operation.statuses.keys().any(|status| (200..300).contains(status)))
        .map(|operation| &operation.id)
        .collect();
    assert!(unanswered.is_empty(), "no success of {unanswered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hour_long_windows_and_monthly_quotas_are_exhausted_and_recover() {
    let service = ragchats(None).await.unwrap();
    let report = suite(service.profile).unwrap().run(service.target).await.unwrap();
    assert!(report.clock_advanced_s > 3600, "the clock was moved by {} s only", report.clock_advanced_s);
    for clause in [
        "contract/rate-limits/authenticated",
        "contract/rate-limits/anonymous",
        "contract/rate-limits/agent-query",
        "contract/rate-limits/headers",
        "contract/quotas/monthly-queries",
    ] {
        let entry = report.ledger.iter().find(|entry| entry.clause == clause).unwrap();
        assert_eq!(entry.state, State::Held, "{clause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_exercised_says_why() {
    let service = ragchats(None).await.unwrap();
    let report = suite(service.profile).unwrap().run(service.target).await.unwrap();
    let silent: Vec<_> = report
        .ledger
        .iter()
        .filter(|entry| entry.state == State::NotExercised && entry.reason.as_deref().unwrap_or_default().is_empty())
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
    let statuses: BTreeSet<&str> = report
        .ledger
        .iter()
        .filter(|entry| entry.state == State::NotExercised)
        .filter_map(|entry| entry.clause.split_once('/').map(|(_, status)| (entry.clause.as_str(), status)))
        .filter(|(_, status)| status.parse::<u16>().is_ok_and(|status| status < 500))
        .map(|(clause, _)| clause)
        .collect();
    assert!(statuses.is_empty(), "statuses below 500 that nothing provoked: {statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_sends_the_same_cases_with_one_worker_and_with_eight() {
    let mut runs = Vec::new();
    for workers in [1, 8] {
        let service = ragchats(None).await.unwrap();
        let options = RunOptions { workers, ..RunOptions::default() };
        let mut cases = Vec::new();
        let suite = suite(service.profile).unwrap().seed(42).options(options);
        suite
            .run_watched(service.target, |event| match event {
                // What comes of it may hang on how far the background has got; what is sent may not.
                Event::CaseFinished { id, .. } => cases.push(id.clone()),
                Event::CaseSkipped { id, reason, .. } => cases.push(format!("{id} skipped: {reason}")),
                _ => {}
            })
            .await
            .unwrap();
        cases.sort();
        runs.push(cases);
    }
    assert!(runs[0].len() > 1000, "{} cases", runs[0].len());
    assert_eq!(runs[0], runs[1]);
}
