//! The one stream of events between the engine and whoever reports. Every report can be rebuilt from it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::Phase;
use crate::clause::State;
use crate::deviation::Register;
use crate::finding::Finding;
use crate::report::{ExitCode, FailOn, Invocation};

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
pub enum Event {
    /// Somebody asked for a run. It comes from whoever asked, not from the engine: the engine's own events carry no time, so
    /// that equal runs have equal events.
    RunInvoked(Box<Asked>),
    /// The run could not start, or broke off for a reason that no report can be made without.
    RunFailed {
        /// How the process ends.
        exit: ExitCode,
        /// Why.
        why: String,
    },
    /// The plan stands, every principal has its credential; traffic starts.
    RunStarted(RunHeader),
    /// A phase starts.
    PhaseStarted {
        /// Which.
        #[schemars(with = "String")]
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
        #[schemars(with = "String")]
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

/// What was asked for, when, and what the owner has accepted before.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// When, by the machine's clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: DateTime<Utc>,
    /// How.
    pub invocation: Invocation,
    /// Which findings fail the run.
    pub fail_on: FailOn,
    /// Deviations that the owner has accepted.
    #[serde(default)]
    pub accepted: Register,
}

/// What a run is about.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
    /// Method, path and section of each operation, in the same order.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// The phases that are run.
    #[schemars(with = "Vec<String>")]
    pub phases: Vec<Phase>,
    /// The part of the plan that is run, if it is not the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// Where an operation stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The method, upper case.
    pub method: String,
    /// The path template.
    pub path: String,
    /// The section of the documentation: the first tag.
    pub section: String,
}

/// One of several parts of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shard {
    /// From 1.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

/// How often a check said something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckTally {
    /// A clause was kept.
    #[serde(default)]
    pub held: u64,
    /// A clause was broken, repetitions and shrinking not counted.
    #[serde(default)]
    pub broken: u64,
    /// An answer said neither yes nor no.
    #[serde(default)]
    pub inconclusive: u64,
}

/// By id of the check: how often it said what.
pub type CheckTallies = BTreeMap<String, CheckTally>;

/// What came of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
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
    /// By operation id: what each check had to say. Requests that were meant to match no operation stand under the empty id.
    #[serde(default)]
    pub checks: BTreeMap<String, CheckTallies>,
    /// The run was stopped before its plan was done.
    pub interrupted: Option<String>,
    /// It was stopped because the deployment, or a credential that everything depends on, was lost.
    #[serde(default)]
    pub lost: bool,
}

/// A clause and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((index, of)) if 1 <= index && index <= of && of <= 1_000 => Ok(Shard { index, of }),
            _ => Err("expected one part of several, such as 1/4 (at most 1000 parts)".to_owned()),
        }
    }
}

impl CheckTally {
    /// Everything that was said.
    pub fn said(&self) -> u64 {
        self.held + self.broken + self.inconclusive
    }

    /// Adds what another run, or another check, said.
    pub fn add(&mut self, other: &CheckTally) {
        self.held += other.held;
        self.broken += other.broken;
        self.inconclusive += other.inconclusive;
    }
}

/// The JSON Schema of one line of the log of events.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Event).to_value()
}
