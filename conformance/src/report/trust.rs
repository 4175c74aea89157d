//! Whether a run can be trusted: what was asked of it, and how much of that came about. A report that says "no findings"
//! after half a run, or without a single success, has to say so before it says anything else.

use super::text::{count, one_line, thousands};
use super::{ExitCode, INTERRUPTED, OperationTally, Report};
use crate::clause::State;

/// How far what a report says can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// All of it.
    Full,
    /// What it found is true; what it did not find may be there all the same.
    Limited,
    /// It says nothing about the deployment.
    None,
}

/// One thing that speaks for or against a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ground {
    /// How far it limits the trust.
    pub(crate) trust: Trust,
    /// A sentence.
    pub(crate) text: String,
}

/// Names listed before the rest is only counted.
const NAMED: usize = 8;

/// Whether a service let anybody do what an operation is for.
pub(crate) fn succeeded(tally: &OperationTally) -> bool {
    tally.statuses.keys().any(|status| (200..400).contains(status))
}

/// How far a report can be relied on, and why.
pub(crate) fn of(report: &Report) -> (Trust, Vec<Ground>) {
    let mut grounds = Vec::new();
    let mut add = |trust, text: String| grounds.push(Ground { trust, text });
    if let Some(why) = &report.failure {
        add(Trust::None, format!("The run did not start: {}.", one_line(why, 400)));
        return (Trust::None, grounds);
    }
    if report.judged() == 0 {
        add(Trust::None, "No answer was judged: this report says nothing about the deployment.".to_owned());
    }
    match &report.interrupted {
        Some(why) if why == INTERRUPTED => {
            add(Trust::Limited, "Somebody stopped the run before its plan was done.".into())
        }
        Some(why) => add(Trust::Limited, format!("The run ended before its plan was done: {}.", one_line(why, 400))),
        None if !report.complete => {
            add(Trust::Limited, "The run broke off; this is what was known until then.".to_owned())
        }
        None => {
            let cases = count(report.totals.planned, "planned case");
            let shard = report.run.as_ref().and_then(|run| run.shard);
            match shard {
                Some(shard) => add(Trust::Limited, format!("This is shard {shard} of the plan; merge all of them.")),
                None if report.totals.skipped > 0 => {
                    let skipped = thousands(report.totals.skipped);
                    add(Trust::Limited, format!("{skipped} of {cases} were not sent; the reasons are listed below."));
                }
                None => add(Trust::Full, format!("The run went to the end of its plan: {cases}.")),
            }
        }
    }
    let operations = &report.operations;
    if !operations.is_empty() {
        let without: Vec<&str> =
            operations.iter().filter(|tally| !succeeded(tally)).map(|tally| tally.id.as_str()).collect();
        let good = operations.len() - without.len();
        if without.is_empty() {
            add(Trust::Full, format!("Every operation succeeded at least once ({good} of {good})."));
        } else {
            let trust = if good == 0 { Trust::None } else { Trust::Limited };
            let named = without.iter().take(NAMED).map(|id| one_line(id, 80)).collect::<Vec<_>>().join(", ");
            let more = without.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let total = operations.len();
            add(trust, format!("{good} of {total} operations succeeded at least once. Never: {named}{more}."));
        }
    }
    if !report.ledger.is_empty() {
        let exercised = report.clauses(State::Held).count() + report.clauses(State::Broken).count();
        let total = report.ledger.len();
        let percent = exercised * 100 / total;
        // Half of the clauses is where what was not looked at outweighs what was.
        let trust = if percent >= 50 { Trust::Full } else { Trust::Limited };
        let (exercised, total) = (thousands(exercised as u64), thousands(total as u64));
        add(trust, format!("{exercised} of {total} clauses of the contract ({percent} %) got a verdict."));
    }
    let totals = &report.totals;
    if report.judged() > 0 && totals.inconclusive > 0 {
        let all = report.judged() + totals.inconclusive;
        let trust = if totals.inconclusive * 10 > all { Trust::Limited } else { Trust::Full };
        add(
            trust,
            format!("{} of {} answers said neither yes nor no.", thousands(totals.inconclusive), thousands(all)),
        );
    }
    let flaky = report.flaky.len() as u64 + report.flaky_unlisted;
    let repeated = "Every failure was sent again before it was reported";
    if flaky > 0 {
        add(Trust::Limited, format!("{repeated}; {} did not fail the second time.", count(flaky, "case")));
    } else if report.judged() > 0 {
        add(Trust::Full, format!("{repeated}; nothing was flaky."));
    }
    let trust = grounds.iter().map(|ground| ground.trust).max().unwrap_or(Trust::None);
    let trust = if report.verdict == ExitCode::NothingTested { Trust::None } else { trust };
    // What speaks against the run comes first.
    grounds.sort_by_key(|ground| std::cmp::Reverse(ground.trust));
    (trust, grounds)
}
