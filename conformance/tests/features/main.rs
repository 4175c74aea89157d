//! The loop: small documents, one for each feature of OpenAPI and JSON Schema. A service made from the document, which reads
//! requests by the letter of the standard and by nothing of the harness, against the harness: it must take all that is valid,
//! refuse all that is not, and every answer of it must pass.
#![allow(clippy::unwrap_used, missing_docs)]

mod mock;

use std::path::{Path, PathBuf};

use trueline_conformance::case::Phase;
use trueline_conformance::plan::PlanOptions;
use trueline_conformance::profile::{Principal, Profile};
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;
use trueline_spec::Contract;

fn documents() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/features");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|own| own == "yaml"))
        .collect();
    found.sort();
    found
}

/// What went wrong with one document.
async fn broken(path: &Path) -> Option<String> {
    let contract = match Contract::load(path) {
        Ok(contract) => std::sync::Arc::new(contract),
        Err(problems) => return Some(problems.to_string()),
    };
    if let Some(note) = contract.notes.first() {
        return Some(note.render(&contract.document));
    }
    let mut profile = Profile::default();
    for scheme in contract.security_schemes.keys() {
        let principal =
            Principal { scheme: scheme.clone(), credential: Some(mock::CREDENTIAL.to_owned()), ..Principal::default() };
        profile.principals.insert("somebody".to_owned(), principal);
    }
    let plan = PlanOptions {
        phases: vec![Phase::Examples, Phase::Boundary, Phase::Random],
        random_cases: 60,
        ..PlanOptions::default()
    };
    let service = mock::Service::new(contract.clone());
    let suite = Suite::new(contract).profile(profile).plan(plan);
    let report = match suite.run(InProcessTarget::new(service.clone())).await {
        Ok(report) => report,
        Err(error) => return Some(error.to_string()),
    };
    let (taken, refused) = service.counts();
    let problems = suite.subject().problems.lock().unwrap().clone();
    let mut said = Vec::new();
    if !report.findings.is_empty() || !report.flaky.is_empty() {
        let told = report.findings.iter().map(|one| {
            format!(
                "{} {}: expected {}, got {}\n    {}",
                one.check,
                one.title,
                one.expected,
                one.actual,
                one.evidence.exchanges.iter().map(|one| one.curl.clone()).collect::<Vec<_>>().join("; ")
            )
        });
        said.extend(told.take(4));
        said.push(format!("{} findings, {} flaky", report.findings.len(), report.flaky.len()));
    }
    if !problems.is_empty() {
        said.push(problems.join("\n"));
    }
    // A loop that sends nothing proves nothing. Whatever octets and unconstrained texts there are, all of them are valid.
    if taken < 5 || refused < 2 {
        said.push(format!("only {taken} requests were taken and {refused} refused"));
    }
    (!said.is_empty()).then(|| said.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_feature_closes_the_loop() {
    let documents = documents();
    assert!(documents.len() > 70, "{} documents", documents.len());
    let only = std::env::var("FEATURE").ok();
    let mut failed = Vec::new();
    for path in documents {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        if let Some(said) = broken(&path).await {
            failed.push(format!("── {name}\n{said}"));
        }
    }
    assert!(failed.is_empty(), "{} features\n{}", failed.len(), failed.join("\n"));
}

/// The loop must notice a service that does not keep to its document, or it says nothing.
#[tokio::test]
async fn a_service_of_another_document_is_noticed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/features");
    let told = std::sync::Arc::new(Contract::load(&folder.join("schema-pattern.yaml")).unwrap());
    let done = std::sync::Arc::new(Contract::load(&folder.join("schema-arrays.yaml")).unwrap());
    let report = Suite::new(told).run(InProcessTarget::new(mock::Service::new(done))).await.unwrap();
    assert!(!report.findings.is_empty());
}
