//! Reports: what all events of a run add up to, and how people and programs get to read it.
//!
//! A [`Collector`] takes the events and knows nothing of the engine; every format is a function of the finished
//! [`Report`]. A further format is one more file here.

mod body;
mod events;
mod file;
mod har;
mod html;
mod json;
mod junit;
mod merge;
mod progress;
mod sarif;
pub mod terminal;
pub(crate) mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) mod trust;

pub use self::events::{EventLog, read as read_events};
pub use self::file::{WriteError, write_whole};
pub use self::har::to_har;
pub use self::html::to_html;
pub use self::json::{ReadError, json_schema, read as read_json, to_json};
pub use self::junit::to_junit;
pub use self::merge::{MergeError, merge};
pub use self::progress::Progress;
pub use self::sarif::to_sarif;
use crate::case::Phase;
use crate::check::Level;
use crate::clause::State;
use crate::deviation::{Deviations, Register};
use crate::event::{Asked, CaseOutcome, CheckTallies, Event, LedgerEntry, Route, RunHeader};
use crate::finding::{Evidence, Finding};

/// The version of the JSON report. A reader of format 1 can read every later report that still says 1.
pub const FORMAT: u32 = 1;

/// What [`crate::event::RunSummary::interrupted`] says when the run's `stop` was raised, as opposed to a spent budget.
pub const INTERRUPTED: &str = "interrupted";

/// Why a run ended whose principals can all not act any more.
pub const DEAD: &str = "the credentials of all principals are dead";

/// Distinct flaky cases, notes and reasons that a report keeps; the rest is counted. Memory stays flat however long a run is.
const KEPT: usize = 200;

/// How a run ends: the exit code of `trueline`, and public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that was tested conforms.
    Conforms = 0,
    /// At least one finding fails the run.
    Findings = 1,
    /// Wrong usage, or the profile or contract is wrong.
    Usage = 2,
    /// The deployment cannot be reached, or a principal has no working credential.
    Unreachable = 3,
    /// No case was judged: nothing ran is not success.
    NothingTested = 4,
    /// Stopped by the user; what was found until then is in the report.
    Interrupted = 130,
}

/// Which findings fail a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailOn {
    /// Only those that break what the contract or a standard demands.
    #[default]
    Must,
    /// Also those that break good practice.
    Should,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The version of this report's form, [`FORMAT`].
    #[schemars(description = "The version of this report's form: 1.")]
    pub format: u32,
    /// How the run ends.
    pub verdict: ExitCode,
    /// Which findings fail it.
    pub fail_on: FailOn,
    /// When the run started, by the machine's clock.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started_at: Option<DateTime<Utc>>,
    /// How the run was asked for; what `trueline replay` goes by. Never holds a credential.
    pub invocation: Option<Invocation>,
    /// What the run is about; absent if it ended before it began.
    pub run: Option<RunHeader>,
    /// False if the events ended before the run did.
    pub complete: bool,
    /// Why the run ended before its plan was done.
    pub interrupted: Option<String>,
    /// Why the run could not start at all.
    #[serde(default)]
    pub failure: Option<String>,
    /// The run ended early because the deployment, or a credential that everything depends on, was lost.
    #[serde(default)]
    pub lost: bool,
    /// Counts over the whole run.
    pub totals: Totals,
    /// By phase, in the order in which they ran.
    pub phases: Vec<PhaseTally>,
    /// By operation, in the order of the document.
    pub operations: Vec<OperationTally>,
    /// What the checks said of requests that were meant to match no operation.
    #[serde(default)]
    pub unmatched: CheckTallies,
    /// Causes, the most binding first; those that the owner has accepted too.
    pub findings: Vec<Finding>,
    /// Where the accepted deviations are written down, and what became of each.
    #[serde(default)]
    pub deviations: Deviations,
    /// Cases that failed once and not again.
    pub flaky: Vec<FlakyCase>,
    /// Further flaky cases, not listed.
    pub flaky_unlisted: u64,
    /// Cases that were planned and not sent, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Further notes, not listed.
    pub notes_unlisted: u64,
    /// By how many seconds the service's clock was moved.
    pub clock_advanced_s: u64,
    /// Every clause of the contract and what became of it.
    pub ledger: Vec<LedgerEntry>,
}

/// How a run was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invocation {
    /// The contract's source.
    pub contract: ContractSource,
    /// Overlays on it, files or URLs, as they were named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overlays: Vec<PathBuf>,
    /// The profile file, as it was named.
    pub profile: Option<PathBuf>,
    /// The file of `--auth`, as it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<PathBuf>,
    /// The base URL.
    pub base_url: String,
    /// Milliseconds for one exchange.
    pub timeout_ms: u64,
    /// The flags of `trueline check` that decided what was sent, the seed left out.
    #[serde(default)]
    pub selection: Vec<String>,
}

/// Where a contract comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ContractSource {
    /// One of the built-in ones, by name.
    BuiltIn(String),
    /// A file, folder or URL, as it was named.
    Path(PathBuf),
}

/// Counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Cases that were planned.
    pub planned: u64,
    /// Cases that every check was content with.
    pub passed: u64,
    /// Cases that a check failed.
    pub failed: u64,
    /// Cases without an answer, or with one that says nothing.
    pub inconclusive: u64,
    /// Cases that were not sent.
    pub skipped: u64,
    /// Requests sent, logins, repetitions and shrinking included.
    pub requests: u64,
    /// Milliseconds of wall time.
    pub elapsed_ms: u64,
}

/// Counts of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTally {
    /// Which.
    #[schemars(with = "String")]
    pub phase: Phase,
    /// Cases in it.
    pub cases: u64,
    /// Judged and content.
    pub passed: u64,
    /// Judged and not content.
    pub failed: u64,
    /// Not to be judged.
    pub inconclusive: u64,
}

/// Counts of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationTally {
    /// Its id.
    pub id: String,
    /// Judged and content.
    pub passed: u64,
    /// Judged and not content.
    pub failed: u64,
    /// Not to be judged.
    pub inconclusive: u64,
    /// Not sent.
    pub skipped: u64,
    /// Microseconds from the first byte sent to the verdict, all cases together.
    pub elapsed_us: u64,
    /// Which statuses came, and how often.
    pub statuses: BTreeMap<u16, u64>,
    /// Its method, path and section.
    #[serde(default)]
    pub route: Option<Route>,
    /// What each check had to say.
    #[serde(default)]
    pub checks: CheckTallies,
}

/// A case that failed once and not again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlakyCase {
    /// The case.
    pub case: String,
    /// What failed, and what differed the second time.
    pub what: String,
}

/// Adds up the events of a run. Memory does not grow with the number of cases.
#[derive(Debug, Default)]
pub struct Collector {
    started_at: Option<DateTime<Utc>>,
    invocation: Option<Invocation>,
    run: Option<RunHeader>,
    complete: bool,
    interrupted: Option<String>,
    failure: Option<(ExitCode, String)>,
    lost: bool,
    fail_on: Option<FailOn>,
    accepted: Register,
    /// Cases of accepted findings that a verdict was found for.
    judged_again: BTreeSet<String>,
    requests: u64,
    elapsed_ms: u64,
    phases: Vec<PhaseTally>,
    operations: Vec<OperationTally>,
    unmatched: CheckTallies,
    findings: BTreeMap<String, Finding>,
    flaky: Vec<FlakyCase>,
    flaky_unlisted: u64,
    skipped: BTreeMap<String, u64>,
    notes: Vec<String>,
    notes_unlisted: u64,
    clock_advanced_s: u64,
    ledger: Vec<LedgerEntry>,
}

impl Collector {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Collector::default()
    }

    /// Notes when the run starts. Events carry no time, so that equal runs have equal events.
    #[must_use]
    pub fn started_at(mut self, time: DateTime<Utc>) -> Self {
        self.started_at = Some(time);
        self
    }

    /// Notes how the run was asked for.
    #[must_use]
    pub fn invoked_by(mut self, invocation: Invocation) -> Self {
        self.invocation = Some(invocation);
        self
    }

    /// Notes what the owner has accepted.
    #[must_use]
    pub fn accepting(mut self, accepted: Register) -> Self {
        self.accepted = accepted;
        self
    }

    /// How many causes are confirmed so far.
    pub fn findings(&self) -> usize {
        self.findings.len()
    }

    /// Takes the next event.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::RunInvoked(asked) => {
                let Asked { at, invocation, fail_on, accepted } = *asked;
                self.started_at = Some(at);
                self.invocation = Some(invocation);
                self.fail_on = Some(fail_on);
                self.accepted = accepted;
            }
            Event::RunFailed { exit, why } => self.failure = Some((exit, why)),
            Event::RunStarted(header) => {
                let operation = |(index, id): (usize, &String)| OperationTally {
                    id: id.clone(),
                    route: header.routes.get(index).cloned(),
                    ..OperationTally::default()
                };
                self.operations = header.operations.iter().enumerate().map(operation).collect();
                self.run = Some(header);
            }
            Event::PhaseStarted { phase, cases } => self.phase(phase).cases = cases,
            Event::CaseFinished { id, operation, phase, outcome, elapsed_us, .. } => {
                if outcome != CaseOutcome::Inconclusive && self.accepted.names_case(&id) {
                    self.judged_again.insert(id);
                }
                let tally = self.phase(phase);
                *of_outcome(outcome, &mut tally.passed, &mut tally.failed, &mut tally.inconclusive) += 1;
                if let Some(tally) = self.operations.get_mut(operation) {
                    *of_outcome(outcome, &mut tally.passed, &mut tally.failed, &mut tally.inconclusive) += 1;
                    tally.elapsed_us = tally.elapsed_us.saturating_add(elapsed_us);
                }
            }
            Event::CaseSkipped { operation, reason, .. } => {
                let full = self.skipped.len() >= KEPT && !self.skipped.contains_key(&reason);
                let reason = if full { "other reasons".to_owned() } else { reason };
                *self.skipped.entry(reason).or_default() += 1;
                if let Some(tally) = self.operations.get_mut(operation) {
                    tally.skipped += 1;
                }
            }
            Event::FindingConfirmed(finding) => self.finding(*finding),
            Event::Flaky { case, what } => {
                let flaky = FlakyCase { case, what };
                if !self.flaky.contains(&flaky) {
                    if self.flaky.len() < KEPT { self.flaky.push(flaky) } else { self.flaky_unlisted += 1 }
                }
            }
            Event::ClockAdvanced { seconds, .. } => {
                self.clock_advanced_s = self.clock_advanced_s.saturating_add(seconds);
            }
            Event::Note { text } => {
                if !self.notes.contains(&text) {
                    if self.notes.len() < KEPT { self.notes.push(text) } else { self.notes_unlisted += 1 }
                }
            }
            Event::RunFinished(summary) => {
                self.complete = true;
                self.interrupted = summary.interrupted;
                self.lost = summary.lost;
                self.requests = summary.requests;
                self.elapsed_ms = summary.elapsed_ms;
                self.ledger = summary.ledger;
                for (id, statuses) in summary.statuses {
                    match self.operations.iter_mut().find(|tally| tally.id == id) {
                        Some(tally) => tally.statuses = statuses,
                        None => self.operations.push(OperationTally { id, statuses, ..OperationTally::default() }),
                    }
                }
                for (id, checks) in summary.checks {
                    match self.operations.iter_mut().find(|tally| tally.id == id) {
                        Some(tally) => tally.checks = checks,
                        None => self.unmatched = checks,
                    }
                }
            }
        }
    }

    /// The report; what fails the run is as the events say, or MUST findings where they say nothing.
    pub fn finish_as_asked(self) -> Report {
        let fail_on = self.fail_on.unwrap_or_default();
        self.finish(fail_on)
    }

    /// The report. `fail_on` decides the verdict.
    pub fn finish(self, fail_on: FailOn) -> Report {
        let sum = |count: fn(&PhaseTally) -> u64| self.phases.iter().map(count).sum();
        let totals = Totals {
            planned: self.run.as_ref().map_or(0, |run| run.cases),
            passed: sum(|phase| phase.passed),
            failed: sum(|phase| phase.failed),
            inconclusive: sum(|phase| phase.inconclusive),
            skipped: self.skipped.values().sum(),
            requests: self.requests,
            elapsed_ms: self.elapsed_ms,
        };
        let mut findings: Vec<Finding> = self.findings.into_values().collect();
        sort(&mut findings);
        // Workers race, so cases fail in an order that differs from run to run.
        let mut flaky = self.flaky;
        flaky.sort_by(|a, b| (&a.case, &a.what).cmp(&(&b.case, &b.what)));
        let verdict = self.failure.as_ref().map_or(ExitCode::NothingTested, |(exit, _)| *exit);
        let mut report = Report {
            format: FORMAT,
            verdict,
            fail_on,
            started_at: self.started_at,
            invocation: self.invocation,
            run: self.run,
            complete: self.complete,
            interrupted: self.interrupted,
            failure: self.failure.map(|(_, why)| why),
            lost: self.lost,
            totals,
            phases: self.phases,
            operations: self.operations,
            unmatched: self.unmatched,
            findings,
            deviations: Deviations::default(),
            flaky,
            flaky_unlisted: self.flaky_unlisted,
            skipped: self.skipped,
            notes: self.notes,
            notes_unlisted: self.notes_unlisted,
            clock_advanced_s: self.clock_advanced_s,
            ledger: self.ledger,
        };
        report.deviations = Deviations::of(&report, self.accepted, &self.judged_again);
        report.verdict = report.judge();
        report
    }

    fn phase(&mut self, phase: Phase) -> &mut PhaseTally {
        let at = match self.phases.iter().position(|tally| tally.phase == phase) {
            Some(at) => at,
            None => {
                self.phases.push(PhaseTally { phase, cases: 0, passed: 0, failed: 0, inconclusive: 0 });
                self.phases.len() - 1
            }
        };
        &mut self.phases[at]
    }

    /// The engine says a finding again when more cases have fallen for its cause: counts and places grow, the smaller
    /// evidence stays.
    fn finding(&mut self, new: Finding) {
        let Some(old) = self.findings.get_mut(&new.id) else {
            self.findings.insert(new.id.clone(), new);
            return;
        };
        let cases = old.cases.max(new.cases);
        let mut operations = old.operations.clone();
        operations.extend(new.operations.iter().filter(|id| !old.operations.contains(id)).cloned());
        if weight(&new.evidence) < weight(&old.evidence) {
            *old = new;
        }
        old.cases = cases;
        old.operations = operations;
    }
}

/// The most binding first, then by check and place.
fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |one: &Finding| (one.check.clone(), one.place.file.clone(), one.place.line, one.id.clone());
        b.level.cmp(&a.level).then_with(|| key(a).cmp(&key(b)))
    });
}

fn of_outcome<'a>(
    outcome: CaseOutcome,
    passed: &'a mut u64,
    failed: &'a mut u64,
    inconclusive: &'a mut u64,
) -> &'a mut u64 {
    match outcome {
        CaseOutcome::Passed => passed,
        CaseOutcome::Failed => failed,
        CaseOutcome::Inconclusive => inconclusive,
    }
}

/// How much a reader has to take in: first the number of requests, then their size.
fn weight(evidence: &Evidence) -> (usize, usize) {
    let size = |request: &crate::finding::RecordedRequest| {
        let headers: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        request.url.len() + headers + request.body_bytes
    };
    let sizes = evidence.exchanges.iter().map(|exchange| size(&exchange.request)).sum();
    (evidence.exchanges.len() + evidence.left_out, sizes)
}

impl Report {
    /// Cases that a verdict was found for.
    pub fn judged(&self) -> u64 {
        self.totals.passed + self.totals.failed
    }

    /// Findings of one level that the owner has not accepted.
    pub fn findings_of(&self, level: Level) -> impl Iterator<Item = &Finding> {
        self.open_findings().filter(move |finding| finding.level == level)
    }

    /// Whether nothing that was found fails the run, and something was tested.
    pub fn conforms(&self) -> bool {
        self.verdict == ExitCode::Conforms
    }

    /// Findings that the owner has not accepted, or not any more.
    pub fn open_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| self.deviations.accepting(&finding.id).is_none())
    }

    /// Whether a finding fails the run.
    pub fn fails(&self, finding: &Finding) -> bool {
        if self.deviations.accepting(&finding.id).is_some() {
            return false;
        }
        match self.fail_on {
            FailOn::Must => finding.level == Level::Must,
            FailOn::Should => true,
        }
    }

    /// Clauses in one state.
    pub fn clauses(&self, state: State) -> impl Iterator<Item = &LedgerEntry> {
        self.ledger.iter().filter(move |entry| entry.state == state)
    }

    fn judge(&self) -> ExitCode {
        if self.failure.is_some() {
            self.verdict
        } else if self.interrupted.as_deref() == Some(INTERRUPTED) {
            ExitCode::Interrupted
        } else if self.findings.iter().any(|finding| self.fails(finding)) || self.deviations.stale().next().is_some() {
            ExitCode::Findings
        } else if self.lost || self.interrupted.as_deref() == Some(DEAD) {
            ExitCode::Unreachable
        } else if self.judged() == 0 {
            ExitCode::NothingTested
        } else {
            ExitCode::Conforms
        }
    }
}

/// A clause that promises a documented status: the operation's id and the status (`403`, `4XX`, `default`).
pub(crate) fn documented_status(entry: &LedgerEntry) -> Option<(&str, &str)> {
    let operation = entry.operation.as_deref()?;
    let status = entry.clause.strip_prefix(operation)?.strip_prefix('/')?;
    let bytes = status.as_bytes();
    let range = || bytes.len() == 3 && bytes[0].is_ascii_digit() && status[1..].eq_ignore_ascii_case("xx");
    let exact = || bytes.len() == 3 && bytes.iter().all(u8::is_ascii_digit);
    (status == "default" || exact() || range()).then_some((operation, status))
}

impl ExitCode {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What the number means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            ExitCode::Conforms => "conforms",
            ExitCode::Findings => "findings",
            ExitCode::Usage => "usage, profile or contract wrong",
            ExitCode::Unreachable => "deployment unreachable or credential dead",
            ExitCode::NothingTested => "nothing was tested",
            ExitCode::Interrupted => "interrupted",
        }
    }
}

/// The whole report as text, without colours: what a failed assertion shows.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&terminal::render(self, &terminal::Layout::default()))
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.code())
    }
}

impl Default for ContractSource {
    fn default() -> Self {
        ContractSource::BuiltIn(String::new())
    }
}

impl fmt::Display for ContractSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContractSource::BuiltIn(name) => f.write_str(name),
            ContractSource::Path(path) => path.display().fmt(f),
        }
    }
}

/// The exchange to show: the last whose offending part is known, else the last.
pub(crate) fn offending_exchange(finding: &Finding) -> Option<usize> {
    let exchanges = &finding.evidence.exchanges;
    let offends = |exchange: &crate::finding::RecordedExchange| {
        exchange.response.as_ref().is_some_and(|response| response.offending.is_some())
    };
    exchanges.iter().rposition(offends).or_else(|| exchanges.len().checked_sub(1))
}

/// The word of RFC 2119.
pub(crate) fn level(level: Level) -> &'static str {
    match level {
        Level::Must => "MUST",
        Level::Should => "SHOULD",
    }
}
