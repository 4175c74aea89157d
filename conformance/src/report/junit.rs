//! JUnit XML: one test suite for the contract as a whole and one for each operation, one test case for each clause.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use super::terminal::{self, Layout, UNCLEAR};
use super::text::one_line;
use super::{ExitCode, Report, level};
use crate::clause::State;
use crate::event::LedgerEntry;
use crate::finding::Finding;

/// The report as JUnit XML. Clauses come in the order of the document, so two runs differ only where they differ.
///
/// A clause that only findings break which do not fail the run (SHOULD, unless asked) is skipped, not failed: a build that
/// reads this file and one that reads the exit code must come to the same verdict, and it is not green either.
pub fn to_junit(report: &Report) -> Result<Vec<u8>, quick_junit::SerializeError> {
    let contract = report.run.as_ref().map_or("contract", |run| run.contract.as_str());
    let mut junit = quick_junit::Report::new(format!("trueline {contract}"));
    junit.set_time(Duration::from_millis(report.totals.elapsed_ms));
    if let Some(time) = report.started_at {
        junit.set_timestamp(time);
    }
    let mut suite = TestSuite::new(contract);
    if let Some(run) = &report.run {
        suite.add_property(Property::new("target", run.target.as_str()));
        suite.add_property(Property::new("seed", run.seed.to_string()));
        suite.add_property(Property::new("plan", run.plan.as_str()));
        suite.add_property(Property::new("trueline", run.version.as_str()));
    }
    let whole = report.ledger.iter().filter(|entry| entry.operation.is_none());
    fill(&mut suite, report, contract, whole);
    // Nothing that was found may get lost, whatever the ledger says.
    let known = |finding: &&Finding| report.ledger.iter().any(|entry| entry.clause == finding.clause);
    for finding in report.findings.iter().filter(|finding| !known(finding)) {
        let mut case = TestCase::new(finding.clause.as_str(), broken(report, &[finding]));
        case.set_classname(contract);
        suite.add_test_case(case);
    }
    for stale in report.deviations.stale() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("stale: {} is not there any more, take it out of the file", stale.finding));
        status.set_type("deviation.stale");
        status.set_description(format!("accepted because: {}", stale.reason));
        let mut case = TestCase::new(format!("deviation {}", stale.finding), status);
        case.set_classname(contract);
        suite.add_test_case(case);
    }
    if let Some(why) = unfinished(report) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(why);
        let mut case = TestCase::new("run", status);
        case.set_classname(contract);
        suite.add_test_case(case);
    }
    stamp(&mut suite, report, None);
    junit.add_test_suite(suite);
    for operation in &report.operations {
        let name = format!("{contract}.{}", operation.id);
        let mut suite = TestSuite::new(name.as_str());
        let own = report.ledger.iter().filter(|entry| entry.operation.as_ref() == Some(&operation.id));
        fill(&mut suite, report, &name, own);
        stamp(&mut suite, report, Some(Duration::from_micros(operation.elapsed_us)));
        junit.add_test_suite(suite);
    }
    let mut bytes = Vec::new();
    junit.serialize(&mut bytes)?;
    Ok(bytes)
}

/// Why a run without a single failed clause is no success all the same.
fn unfinished(report: &Report) -> Option<&str> {
    if let Some(why) = &report.failure {
        return Some(why);
    }
    match report.verdict {
        ExitCode::Unreachable => Some("the deployment, or a credential that everything depends on, was lost"),
        ExitCode::NothingTested => Some("nothing was tested"),
        ExitCode::Interrupted => Some("the run was interrupted"),
        _ if !report.complete => Some("the run broke off"),
        _ => None,
    }
}

fn stamp(suite: &mut TestSuite, report: &Report, time: Option<Duration>) {
    if let Some(started) = report.started_at {
        suite.set_timestamp(started);
    }
    if let Some(time) = time {
        suite.set_time(time);
    }
}

fn fill<'a>(suite: &mut TestSuite, report: &Report, class: &str, entries: impl Iterator<Item = &'a LedgerEntry>) {
    for entry in entries {
        let status = match entry.state {
            State::Held => TestCaseStatus::success(),
            State::Broken => broken(report, &behind(report, entry)),
            State::NotExercised => skipped("not-exercised", entry, "not exercised"),
            State::Inconclusive => skipped("inconclusive", entry, UNCLEAR),
        };
        let mut case = TestCase::new(entry.clause.as_str(), status);
        case.set_classname(class);
        suite.add_test_case(case);
    }
}

/// The findings that a broken clause goes back to: its own; or, where one cause breaks many clauses, those that stand at the
/// same place of the document or name its operation.
fn behind<'a>(report: &'a Report, entry: &LedgerEntry) -> Vec<&'a Finding> {
    let own: Vec<&Finding> = report.findings.iter().filter(|finding| finding.clause == entry.clause).collect();
    if !own.is_empty() {
        return own;
    }
    let names_operation = |finding: &&Finding| match &entry.operation {
        Some(operation) => finding.operations.contains(operation),
        None => true,
    };
    let all: Vec<&Finding> = report.findings.iter().filter(names_operation).collect();
    let here: Vec<&Finding> = all
        .iter()
        .copied()
        .filter(|finding| {
            let place = &finding.place;
            place.pointer == entry.pointer || entry.at == format!("{}:{}:{}", place.file, place.line, place.column)
        })
        .collect();
    if here.is_empty() { all } else { here }
}

fn broken(report: &Report, findings: &[&Finding]) -> TestCaseStatus {
    let fails = findings.is_empty() || findings.iter().any(|finding| report.fails(finding));
    let mut status =
        if fails { TestCaseStatus::non_success(NonSuccessKind::Failure) } else { TestCaseStatus::skipped() };
    let Some(first) = findings.first() else {
        status.set_message("broken, by a case whose cause was not confirmed");
        return status;
    };
    let more = match findings.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let accepted = match report.deviations.accepting(&first.id) {
        Some(deviation) => format!(" (accepted until {}: {})", deviation.until, one_line(&deviation.reason, 300)),
        None => String::new(),
    };
    let title = one_line(&first.title, 300);
    status.set_message(format!("{} {}: {title}{more}{accepted}", level(first.level), first.check));
    status.set_type(first.check.as_str());
    let layout = Layout::default();
    let text: Vec<String> = findings.iter().map(|finding| terminal::finding(report, finding, &layout)).collect();
    status.set_description(text.join("\n"));
    status
}

fn skipped(kind: &str, entry: &LedgerEntry, otherwise: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_type(kind);
    status.set_message(entry.reason.as_ref().map_or_else(|| otherwise.to_owned(), |reason| one_line(reason, 400)));
    status
}
