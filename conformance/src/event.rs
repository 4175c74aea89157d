//! The one stream of events between the engine and whoever reports. Every report can be rebuilt from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::case::Phase;
use crate::clause::State;
use crate::finding::Finding;

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
pub enum Event {
    /// The plan stands, every principal has its credential; traffic starts.
    RunStarted(RunHeader),
    /// A phase starts.
    PhaseStarted {
        /// Which.
        phase: Phase,
        /// Cases in it.
        cases: u64,
    },
    /// A case was judged.
    CaseFinished {
        /// Its id.
        id: String,
        /// Index of its operation.
        operation: usize,
        /// Its phase.
        phase: Phase,
        /// The last status that came, none if no answer came.
        status: Option<u16>,
        /// What came of it.
        outcome: CaseOutcome,
        /// Microseconds from the first byte sent to the verdict.
        elapsed_us: u64,
    },
    /// A planned case was not sent.
    CaseSkipped {
        /// Its id.
        id: String,
        /// Index of its operation.
        operation: usize,
        /// Why.
        reason: String,
    },
    /// A case failed, failed again, and was made as small as it goes; or another case fell for the same cause.
    FindingConfirmed(Box<Finding>),
    /// A case failed once and not again.
    Flaky {
        /// The case.
        case: String,
        /// What failed, and what differed the second time.
        what: String,
    },
    /// The service's clock was moved.
    ClockAdvanced {
        /// By how many seconds.
        seconds: u64,
        /// Why.
        why: String,
    },
    /// Something a reader should know.
    Note {
        /// A sentence.
        text: String,
    },
    /// The run is over.
    RunFinished(Box<RunSummary>),
}

/// What a run is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunHeader {
    /// The version of trueline.
    pub version: String,
    /// The contract's name.
    pub contract: String,
    /// The contract's title.
    pub title: String,
    /// Digest of the contract's files.
    pub digest: String,
    /// The base URL.
    pub target: String,
    /// The seed.
    pub seed: u64,
    /// The plan's hash.
    pub plan: String,
    /// Cases in the plan.
    pub cases: u64,
    /// Ids of the operations, in the order of the document.
    pub operations: Vec<String>,
    /// The phases that are run.
    pub phases: Vec<Phase>,
}

/// What came of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseOutcome {
    /// Every check that had something to say was content.
    Passed,
    /// A check failed.
    Failed,
    /// No answer, or one that says nothing.
    Inconclusive,
}

/// The end of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunSummary {
    /// Requests sent, logins, repetitions and shrinking included.
    pub requests: u64,
    /// Milliseconds of wall time.
    pub elapsed_ms: u64,
    /// Cases by outcome.
    pub outcomes: BTreeMap<CaseOutcome, u64>,
    /// Cases planned and not sent, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Every clause.
    pub ledger: Vec<LedgerEntry>,
    /// By operation id: which statuses came, and how often.
    pub statuses: BTreeMap<String, BTreeMap<u16, u64>>,
    /// The run was stopped before its plan was done.
    pub interrupted: Option<String>,
}

/// A clause and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The clause's id.
    pub clause: String,
    /// What is promised.
    pub statement: String,
    /// `file:line:col` in the document.
    pub at: String,
    /// JSON Pointer in that file.
    pub pointer: String,
    /// The operation's id, if it belongs to one.
    pub operation: Option<String>,
    /// What became of it.
    pub state: State,
    /// Why, where it was not exercised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
