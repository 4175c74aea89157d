//! Causes: what broke, grouped so that one broken schema behind forty operations is one finding with forty places.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use crate::check::Break;
use crate::finding::Finding;
use crate::subject::{Subject, lock};

/// Every cause that has shown itself.
#[derive(Default)]
pub(super) struct Causes {
    seen: Mutex<HashMap<String, Cause>>,
}

#[derive(Default)]
struct Cause {
    finding: Option<Finding>,
    operations: BTreeSet<usize>,
    cases: u64,
    attempts: u32,
}

/// What to do with a break.
pub(super) enum Entry {
    /// Nobody has confirmed this cause yet.
    First,
    /// It is being confirmed, or it is a finding already.
    Known,
    /// It did not repeat, time and again.
    Hopeless,
}

impl Causes {
    pub(super) fn enter(&self, key: &str, operation: usize) -> Entry {
        let mut seen = lock(&self.seen);
        let cause = seen.entry(key.to_owned()).or_default();
        cause.operations.insert(operation);
        cause.cases += 1;
        match (&cause.finding, cause.attempts) {
            (Some(_), _) => Entry::Known,
            (None, attempts) if attempts % 2 == 1 => Entry::Known,
            (None, attempts) if attempts >= 6 => Entry::Hopeless,
            _ => {
                cause.attempts += 1;
                Entry::First
            }
        }
    }

    pub(super) fn confirm(&self, key: &str, finding: Finding) {
        if let Some(cause) = lock(&self.seen).get_mut(key) {
            cause.finding = Some(finding);
        }
    }

    /// Whether this cause is a finding by now.
    pub(super) fn is_found(&self, key: &str) -> bool {
        lock(&self.seen).get(key).is_some_and(|cause| cause.finding.is_some())
    }

    /// It did not repeat; the next case with this cause may try again.
    pub(super) fn dismiss(&self, key: &str) {
        if let Some(cause) = lock(&self.seen).get_mut(key) {
            cause.attempts += 1;
        }
    }

    /// Every finding with all its places.
    pub(super) fn findings(&self, subject: &Subject) -> Vec<Finding> {
        let seen = lock(&self.seen);
        let mut findings: Vec<Finding> = seen
            .values()
            .filter_map(|cause| {
                let mut finding = cause.finding.clone()?;
                finding.cases = cause.cases;
                finding.operations =
                    cause.operations.iter().map(|index| subject.operation(*index).id.clone()).collect();
                Some(finding)
            })
            .collect();
        findings.sort_by(|a, b| (&a.check, &a.clause, &a.id).cmp(&(&b.check, &b.clause, &b.id)));
        findings
    }
}

/// A cause of a check.
pub(super) fn key_of(check: &str, cause: &str) -> String {
    format!("{check}\0{cause}")
}

/// What is the same for every case with the same cause as this break.
pub(super) fn key(subject: &Subject, broken: &Break) -> String {
    if broken.cause.is_empty() {
        key_of(broken.check.id, &subject.clauses.get(broken.clause).id)
    } else {
        key_of(broken.check.id, &broken.cause)
    }
}
