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
        drop_implied(&mut findings);
        findings.sort_by(|a, b| (&a.check, &a.clause, &a.id).cmp(&(&b.check, &b.clause, &b.id)));
        findings
    }
}

/// Where nobody is asked for a credential, every bad one is as good: that is one hole, not four.
fn drop_implied(findings: &mut Vec<Finding>) {
    const IMPLIED: [&str; 6] = [
        "auth.rejects-invalid",
        "auth.rejects-expired",
        "auth.rejects-revoked",
        "auth.whole-credential",
        "auth.malformed",
        "auth.token-kind",
    ];
    let let_in = |finding: &Finding| {
        let answer = finding.evidence.exchanges.last().and_then(|exchange| exchange.response.as_ref());
        answer.is_some_and(|response| response.status < 400)
    };
    let open: BTreeSet<String> = findings
        .iter()
        .filter(|finding| finding.check == "auth.required" && let_in(finding))
        .flat_map(|finding| finding.operations.iter().cloned())
        .collect();
    findings.retain(|finding| {
        let implied = IMPLIED.contains(&finding.check.as_str()) && let_in(finding);
        !implied || !finding.operations.iter().all(|operation| open.contains(operation))
    });
}

/// What is the same for every case with the same cause.
pub(super) fn key(subject: &Subject, broken: &Break) -> String {
    if broken.cause.is_empty() {
        format!("{}\0{}", broken.check.id, subject.clauses.get(broken.clause).id)
    } else {
        format!("{}\0{}", broken.check.id, broken.cause)
    }
}
