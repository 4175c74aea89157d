//! One report out of those of the shards of a plan.

use std::collections::BTreeMap;

use super::{KEPT, PhaseTally, Report, Totals, weight};
use crate::event::{CheckTallies, Shard};
use crate::finding::Finding;
use crate::plan::ELSEWHERE;

/// Why reports do not make one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("there is no report to merge")]
    Nothing,
    /// A run did not start, so its part of the plan is not there.
    #[error("{name} is the report of a run that did not start: {why}")]
    NotRun {
        /// The report.
        name: String,
        /// Why.
        why: String,
    },
    /// A report is that of a whole run.
    #[error("{name} is the report of a whole run, not of a shard (`trueline check --shard 1/2`)")]
    Whole {
        /// The report.
        name: String,
    },
    /// Two reports are parts of different plans.
    #[error("{name} and {other} are parts of different plans: {what} differs")]
    Different {
        /// The first report.
        name: String,
        /// Another one.
        other: String,
        /// What tells them apart.
        what: &'static str,
    },
    /// A part is there twice.
    #[error("{name} and {other} are both shard {shard}")]
    Twice {
        /// The first report.
        name: String,
        /// Another one.
        other: String,
        /// The part.
        shard: Shard,
    },
    /// Parts are missing: what they would have shown is not known.
    #[error("these shards are missing: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Missing(Vec<Shard>),
}

/// Puts the reports of all shards of one plan together; each comes with the name that messages call it by.
pub fn merge(reports: Vec<(String, Report)>) -> Result<Report, MergeError> {
    check(&reports)?;
    let mut reports = reports.into_iter().map(|(_, report)| report);
    let mut merged = reports.next().ok_or(MergeError::Nothing)?;
    name_interruption(&mut merged);
    let mut findings: BTreeMap<String, Finding> = BTreeMap::new();
    for finding in std::mem::take(&mut merged.findings) {
        findings.insert(finding.id.clone(), finding);
    }
    for mut report in reports {
        name_interruption(&mut report);
        for finding in std::mem::take(&mut report.findings) {
            match findings.get_mut(&finding.id) {
                Some(old) => join(old, finding),
                None => {
                    findings.insert(finding.id.clone(), finding);
                }
            }
        }
        add(&mut merged, report);
    }
    merged.findings = findings.into_values().collect();
    super::sort(&mut merged.findings);
    merged.flaky.sort_by(|a, b| (&a.case, &a.what).cmp(&(&b.case, &b.what)));
    if let Some(run) = &mut merged.run {
        run.shard = None;
        run.cases = merged.totals.planned;
    }
    merged.phases.sort_by_key(|tally| tally.phase);
    merged.deviations = std::mem::take(&mut merged.deviations).renew(&merged);
    merged.verdict = merged.judge();
    Ok(merged)
}

/// Whether these are all parts of one plan, each once.
fn check(reports: &[(String, Report)]) -> Result<(), MergeError> {
    let mut parts: Vec<(&String, Shard)> = Vec::new();
    let mut first: Option<(&String, &crate::event::RunHeader)> = None;
    for (name, report) in reports {
        let Some(run) = &report.run else {
            let why = report.failure.clone().unwrap_or_else(|| "it broke off at its start".to_owned());
            return Err(MergeError::NotRun { name: name.clone(), why });
        };
        let Some(shard) = run.shard else { return Err(MergeError::Whole { name: name.clone() }) };
        let (other, model) = *first.get_or_insert((name, run));
        let of = model.shard.map(|shard| shard.of);
        let what = match () {
            () if run.digest != model.digest => Some("the contract"),
            () if run.seed != model.seed => Some("the seed"),
            () if run.plan != model.plan => Some("the plan's hash"),
            () if Some(shard.of) != of => Some("the number of shards"),
            () => None,
        };
        if let Some(what) = what {
            return Err(MergeError::Different { name: other.clone(), other: name.clone(), what });
        }
        if let Some((other, _)) = parts.iter().find(|(_, known)| *known == shard) {
            return Err(MergeError::Twice { name: (*other).clone(), other: name.clone(), shard });
        }
        parts.push((name, shard));
    }
    let of = parts.first().map_or(0, |(_, shard)| shard.of);
    let missing: Vec<Shard> = (1..=of)
        .map(|index| Shard { index, of })
        .filter(|shard| !parts.iter().any(|(_, known)| known == shard))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(MergeError::Missing(missing)) }
}

/// A part that ended early says which one it was; the word of a user who stopped it stays as it is.
fn name_interruption(report: &mut Report) {
    let shard = report.run.as_ref().and_then(|run| run.shard);
    if let (Some(why), Some(shard)) = (&mut report.interrupted, shard)
        && why != super::INTERRUPTED
    {
        *why = format!("shard {shard}: {why}");
    }
}

/// One cause that showed itself in two parts.
fn join(old: &mut Finding, new: Finding) {
    let cases = old.cases + new.cases;
    let mut operations = old.operations.clone();
    operations.extend(new.operations.iter().filter(|id| !old.operations.contains(id)).cloned());
    if weight(&new.evidence) < weight(&old.evidence) {
        *old = new;
    }
    old.cases = cases;
    old.operations = operations;
}

fn add(merged: &mut Report, report: Report) {
    merged.started_at = [merged.started_at, report.started_at].into_iter().flatten().min();
    merged.complete &= report.complete;
    merged.lost |= report.lost;
    merged.interrupted = match (merged.interrupted.take(), report.interrupted) {
        (_, Some(why)) if why == super::INTERRUPTED => Some(why),
        (before, after) => before.or(after),
    };
    let Totals { planned, passed, failed, inconclusive, skipped, requests, elapsed_ms } = report.totals;
    let totals = &mut merged.totals;
    totals.planned += planned;
    totals.passed += passed;
    totals.failed += failed;
    totals.inconclusive += inconclusive;
    totals.skipped += skipped;
    totals.requests += requests;
    // Shards run side by side.
    totals.elapsed_ms = totals.elapsed_ms.max(elapsed_ms);
    for PhaseTally { phase, cases, passed, failed, inconclusive } in report.phases {
        match merged.phases.iter_mut().find(|tally| tally.phase == phase) {
            Some(tally) => {
                tally.cases += cases;
                tally.passed += passed;
                tally.failed += failed;
                tally.inconclusive += inconclusive;
            }
            None => merged.phases.push(PhaseTally { phase, cases, passed, failed, inconclusive }),
        }
    }
    for one in report.operations {
        let Some(tally) = merged.operations.iter_mut().find(|tally| tally.id == one.id) else {
            merged.operations.push(one);
            continue;
        };
        tally.passed += one.passed;
        tally.failed += one.failed;
        tally.inconclusive += one.inconclusive;
        tally.skipped += one.skipped;
        tally.elapsed_us = tally.elapsed_us.saturating_add(one.elapsed_us);
        for (status, times) in one.statuses {
            *tally.statuses.entry(status).or_default() += times;
        }
        add_checks(&mut tally.checks, one.checks);
    }
    add_checks(&mut merged.unmatched, report.unmatched);
    for flaky in report.flaky {
        if !merged.flaky.contains(&flaky) {
            if merged.flaky.len() < KEPT { merged.flaky.push(flaky) } else { merged.flaky_unlisted += 1 }
        }
    }
    merged.flaky_unlisted += report.flaky_unlisted;
    for (reason, cases) in report.skipped {
        *merged.skipped.entry(reason).or_default() += cases;
    }
    for note in report.notes {
        if !merged.notes.contains(&note) {
            if merged.notes.len() < KEPT { merged.notes.push(note) } else { merged.notes_unlisted += 1 }
        }
    }
    merged.notes_unlisted += report.notes_unlisted;
    merged.clock_advanced_s = merged.clock_advanced_s.saturating_add(report.clock_advanced_s);
    // The same contract has the same clauses in the same order.
    for (entry, other) in merged.ledger.iter_mut().zip(report.ledger) {
        let better =
            other.state > entry.state || (other.state == entry.state && entry.reason.as_deref() == Some(ELSEWHERE));
        if better && entry.clause == other.clause {
            *entry = other;
        }
    }
    for (outcome, other) in merged.deviations.outcomes.iter_mut().zip(report.deviations.outcomes) {
        outcome.case_judged |= outcome.deviation == other.deviation && other.case_judged;
    }
}

fn add_checks(checks: &mut CheckTallies, others: CheckTallies) {
    for (check, tally) in others {
        checks.entry(check).or_default().add(&tally);
    }
}
