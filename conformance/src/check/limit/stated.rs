//! What the checks of this family make of headers alone, where no rate class is documented: see [`crate::stated`].

use super::super::{Purpose, Seen, Sequence, Step};
use crate::case::{Script, Spend};
use crate::clause::ClauseId;
use crate::finding::Offending;
use crate::stated::{Counter, Stated};

/// A count and its reset may each be rounded to the second.
const ROUNDING_MS: i64 = 1_500;

/// What an answer states, and the clause that says that it does.
pub(super) fn told(seen: &Seen<'_>) -> Option<(Stated, ClauseId)> {
    // With the vocabulary the classes speak.
    seen.clauses().stated_limits?;
    Some((Stated::of(seen.operation()?, seen.response), seen.clauses().rate_headers?))
}

/// A sequence that counts down what headers state.
pub(super) struct Told<'a> {
    pub(super) spend: &'a Spend,
    pub(super) clause: ClauseId,
    /// The operation's id.
    pub(super) who: &'a str,
    pub(super) virtual_clock: bool,
    steps: Vec<(&'a Step, Stated)>,
}

/// What became of one counter in one window while requests went by.
pub(super) struct Run {
    /// At the first of the answers.
    pub(super) first: Counter,
    /// Each answer after it.
    pub(super) rest: Vec<Counter>,
    /// From the first to the last.
    pub(super) elapsed_ms: i64,
    /// From the first to the end of the window, where it is stated.
    pub(super) open_ms: Option<i64>,
}

impl<'a> Told<'a> {
    pub(super) fn of(sequence: &Sequence<'a>) -> Option<Told<'a>> {
        let Script::Spend(spend) = &sequence.case.script else { return None };
        let clause = sequence.subject.clauses.stated_limits?;
        let operation = sequence.subject.operation(spend.probe.operation);
        let stated =
            |step: &'a Step| (step, step.exchange.response().map(|one| Stated::of(operation, one)).unwrap_or_default());
        let steps = sequence.steps.iter().map(stated).collect();
        Some(Told { spend, clause, who: &operation.id, virtual_clock: sequence.virtual_clock, steps })
    }

    /// The steps for a purpose, with what each states.
    pub(super) fn for_purpose(&self, purpose: Purpose) -> impl Iterator<Item = &(&'a Step, Stated)> {
        self.steps.iter().filter(move |(step, _)| step.purpose == purpose)
    }

    /// The last answer that was let through before anybody was refused.
    pub(super) fn last_counted(&self) -> Option<&(&'a Step, Stated)> {
        self.steps.iter().rfind(|(step, _)| step.purpose == Purpose::Count && step.exchange.status() != Some(429))
    }

    /// Each counter in each window, while counting and until the first refusal.
    pub(super) fn runs(&self) -> Vec<Run> {
        let counting = |step: &Step| matches!(step.purpose, Purpose::Count | Purpose::Over);
        let mut runs: Vec<(Run, &'a Step)> = Vec::new();
        for (step, stated) in self.steps.iter().filter(|(step, _)| counting(step)) {
            for counter in &stated.counters {
                let last = runs.iter_mut().rfind(|(run, _)| run.first.name == counter.name);
                let same = last
                    .filter(|(run, first)| same_window(run.rest.last().unwrap_or(&run.first), counter, first, step));
                match same {
                    Some((run, first)) => {
                        run.elapsed_ms = step.sent_ms - first.sent_ms;
                        run.rest.push(counter.clone());
                    }
                    None => {
                        let open_ms = counter.reset.as_ref().map(|reset| reset.at_ms - step.sent_ms);
                        runs.push((Run { first: counter.clone(), rest: Vec::new(), elapsed_ms: 0, open_ms }, step));
                    }
                }
            }
            if step.exchange.status() == Some(429) {
                break;
            }
        }
        runs.into_iter().map(|(run, _)| run).collect()
    }
}

/// Whether two answers speak of one window that was open at both.
fn same_window(before: &Counter, after: &Counter, first: &Step, second: &Step) -> bool {
    match (&before.reset, &after.reset) {
        (Some(one), Some(other)) => {
            let open = one.at_ms - ROUNDING_MS > second.sent_ms;
            // A reset that is itself wrong says nothing of windows; two equal ones are still one.
            (one.at_ms - other.at_ms).abs() <= ROUNDING_MS
                && (open || one.at_ms < first.sent_ms && one.text == other.text)
        }
        // Without an end nothing but the limit tells one counter from another.
        (None, None) => before.limit == after.limit,
        _ => false,
    }
}

impl Run {
    /// What may have come back meanwhile, where a counter is filled up little by little: by its reset it would be full.
    pub(super) fn refilled(&self) -> i64 {
        match (self.first.limit, self.open_ms.filter(|open| *open > 0)) {
            (Some(limit), Some(open)) => 1 + limit.saturating_mul(self.elapsed_ms.max(0)) / open,
            _ => 1 + self.elapsed_ms / 100,
        }
    }
}

pub(super) fn offending(header: &str) -> Offending {
    Offending::Header(header.to_ascii_lowercase())
}
