//! The depot (`depot/`) with the harness around it: one run at a time, for tests that look closer than the self-proof does.

use trueline_conformance::finding::Finding;
use trueline_conformance::profile::Profile;
use trueline_conformance::selftest::{SelftestError, Service};
use trueline_conformance::suite::Suite;
use trueline_conformance::target::InProcessTarget;

pub use trueline_depot::{DOCUMENT, Depot, FAULTS, FAULTS_IN_WORDS, PROFILE};

/// Who the harness may act as.
pub fn profile() -> Result<Profile, String> {
    Profile::parse(PROFILE)
}

/// The suite for the document, and a service that has just started, with one fault or (by an empty name) without.
pub fn depot(fault: &str) -> Result<(Suite, InProcessTarget), SelftestError> {
    Service::depot()?.start(FAULTS.iter().find(|one| one.name == fault))
}

/// A report's findings in one line each.
pub fn said(report: &trueline_conformance::report::Report) -> String {
    let line = |finding: &Finding| {
        let Finding { check, title, actual, .. } = finding;
        format!("{check} {title}: {actual} ({})\n", finding.evidence.case.id)
    };
    report.findings.iter().map(line).collect()
}
