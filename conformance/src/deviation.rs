//! Deviations: findings that the owner of a service has accepted, with a reason and a date. They stand in a file that people
//! review, one table each; `trueline accept` writes them. An accepted finding fails no run until its date; one whose clause
//! was exercised and held is stale, and fails: a list that nobody clears out hides the next fault.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clause::State;
use crate::report::{Report, WriteError, write_whole};

/// What the first line of a new file says.
const HEADING: &str = "# Deviations that the owner of the service has accepted. Written by `trueline accept`, reviewed like \
                       code:\n# each has a reason and a last day, fails the run again after it, and fails it as stale once \
                       the service is mended.\n";

/// A finding that the owner has accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// The finding, by the id that every report gives it.
    pub finding: String,
    /// The check that failed.
    pub check: String,
    /// The clause that is broken.
    pub clause: String,
    /// What is wrong, in a few words.
    pub title: String,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it is.
    #[serde(deserialize_with = "day")]
    #[schemars(with = "String", extend("format" = "date"))]
    pub until: NaiveDate,
    /// The case that showed it.
    pub case: String,
    /// The seed of the run that showed it.
    #[serde(default)]
    pub seed: u64,
}

/// Every deviation that is accepted, and where that is written down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Register {
    /// The file.
    pub file: Option<PathBuf>,
    /// In the order of the file.
    pub deviations: Vec<Deviation>,
}

/// What became of a deviation in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeviationState {
    /// Found again, and still accepted.
    Accepted,
    /// Found again after its last day: it fails like any other finding.
    Expired,
    /// Not found again although its clause was exercised: take it out of the file. Fails the run.
    Stale,
    /// Nothing that was sent could show whether it is still there.
    NotSeen,
}

/// A deviation and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviationOutcome {
    /// The deviation.
    pub deviation: Deviation,
    /// What became of it.
    pub state: DeviationState,
    /// Whether the case that showed it was sent again and judged.
    pub case_judged: bool,
}

/// What became of every deviation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deviations {
    /// The file.
    pub file: Option<PathBuf>,
    /// In the order of the file.
    pub outcomes: Vec<DeviationOutcome>,
}

/// Why a file of deviations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviationError {
    /// The file cannot be read.
    #[error("cannot read the deviations {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no list of deviations.
    #[error("{} is not a list of deviations:\n{message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A finding stands in the file already.
    #[error("{} has accepted {finding} already, until {until}\nhelp: change its `reason` and `until` there", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The finding.
        finding: String,
        /// Its last day.
        until: NaiveDate,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The file, as people see it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    deviation: Vec<Deviation>,
}

impl Register {
    /// Reads a file of deviations.
    pub fn read(path: &Path) -> Result<Register, DeviationError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| DeviationError::Read { path: path.to_owned(), source })?;
        Register::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Register, DeviationError> {
        let parse = |message: String| DeviationError::Parse { path: path.to_owned(), message };
        let written: Written = toml::from_str(text).map_err(|error| parse(error.to_string().trim_end().to_owned()))?;
        for one in &written.deviation {
            if one.reason.trim().is_empty() {
                return Err(parse(format!("{} has no reason", one.finding)));
            }
            if written.deviation.iter().filter(|other| other.finding == one.finding).count() > 1 {
                return Err(parse(format!("{} stands there twice", one.finding)));
            }
        }
        Ok(Register { file: Some(path.to_owned()), deviations: written.deviation })
    }

    /// Writes deviations at the end of a file, which is made if it is not there; what stands in it, comments included,
    /// stays as it is.
    pub fn append(path: &Path, new: &[Deviation]) -> Result<(), DeviationError> {
        let mut text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HEADING.to_owned(),
            Err(source) => return Err(DeviationError::Read { path: path.to_owned(), source }),
        };
        let known = Register::parse(path, &text)?;
        for one in new {
            if let Some(old) = known.deviations.iter().find(|old| old.finding == one.finding) {
                let (finding, until) = (one.finding.clone(), old.until);
                return Err(DeviationError::Twice { path: path.to_owned(), finding, until });
            }
            let written = toml::to_string(&Written { deviation: vec![one.clone()] })
                .map_err(|error| DeviationError::Parse { path: path.to_owned(), message: error.to_string() })?;
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push('\n');
            text.push_str(&written);
        }
        Ok(write_whole(path, text.as_bytes())?)
    }

    /// Whether one of these deviations was shown by this case.
    pub(crate) fn names_case(&self, id: &str) -> bool {
        self.deviations.iter().any(|one| one.case == id)
    }
}

impl Deviations {
    /// Holds what was accepted to what was found. `judged`: cases that a verdict was found for.
    pub(crate) fn of(report: &Report, accepted: Register, judged: &BTreeSet<String>) -> Deviations {
        let outcome = |deviation: Deviation| {
            let case_judged = judged.contains(&deviation.case);
            let state = state(report, &deviation, case_judged);
            DeviationOutcome { deviation, state, case_judged }
        };
        Deviations { file: accepted.file, outcomes: accepted.deviations.into_iter().map(outcome).collect() }
    }

    /// Looks again, after a report has changed.
    pub(crate) fn renew(self, report: &Report) -> Deviations {
        let outcome = |DeviationOutcome { deviation, case_judged, .. }| {
            let state = state(report, &deviation, case_judged);
            DeviationOutcome { deviation, state, case_judged }
        };
        Deviations { file: self.file, outcomes: self.outcomes.into_iter().map(outcome).collect() }
    }

    /// The deviation that accepts a finding, if one does and its last day has not passed.
    pub fn accepting(&self, finding: &str) -> Option<&Deviation> {
        self.in_state(DeviationState::Accepted).find(|one| one.finding == finding)
    }

    /// The deviation that accepted a finding until its last day passed.
    pub fn expired(&self, finding: &str) -> Option<&Deviation> {
        self.in_state(DeviationState::Expired).find(|one| one.finding == finding)
    }

    /// Those that have to be taken out of the file.
    pub fn stale(&self) -> impl Iterator<Item = &Deviation> {
        self.in_state(DeviationState::Stale)
    }

    /// Those that this became of.
    pub fn in_state(&self, state: DeviationState) -> impl Iterator<Item = &Deviation> {
        self.outcomes.iter().filter(move |one| one.state == state).map(|one| &one.deviation)
    }
}

fn day<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<NaiveDate, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom(format!("`{text}` is no day such as 2026-03-31")))
}

fn state(report: &Report, deviation: &Deviation, case_judged: bool) -> DeviationState {
    if report.findings.iter().any(|finding| finding.id == deviation.finding) {
        let today = report.started_at.map(|time| time.date_naive());
        let expired = today.is_some_and(|today| today > deviation.until);
        return if expired { DeviationState::Expired } else { DeviationState::Accepted };
    }
    // A clause can hold in every case but one, so only the case itself can show that the deviation is gone; and a random case
    // is another one under another seed.
    let same_case =
        !deviation.case.starts_with("random/") || report.run.as_ref().is_some_and(|run| run.seed == deviation.seed);
    let held = report.clauses(State::Held).any(|entry| entry.clause == deviation.clause);
    if held && case_judged && same_case { DeviationState::Stale } else { DeviationState::NotSeen }
}
