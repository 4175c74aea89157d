//! Parts of a plan, for several machines or jobs that share one run.

use std::collections::BTreeSet;

use super::Plan;
use crate::case::Phase;
use crate::event::Shard;

/// Why a clause is not exercised here: another part of the plan has its operation.
pub const ELSEWHERE: &str = "another shard of the plan tests this operation";

impl Plan {
    /// Keeps one part. An operation is never split, so that whatever its cases need is made once; the limits phase is never
    /// split either, because whoever uses up a counter has to be alone with it. Parts come out about equally large, and are
    /// the same wherever they are made.
    pub(super) fn keep(&mut self, shard: Shard, operations: usize) {
        // The operations of every phase but limits, then the limits phase as a whole.
        let mut costs = vec![0; operations + 1];
        let unit = |entry: &super::Entry| match entry.phase() {
            Phase::Limits => operations,
            _ => entry.operation(),
        };
        for entry in &self.entries {
            costs[unit(entry)] += entry.len();
        }
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by_key(|unit| (std::cmp::Reverse(costs[*unit]), *unit));
        let mut loads = vec![0_u64; shard.of as usize];
        let mut mine = BTreeSet::new();
        for unit in order {
            let Some((lightest, load)) = loads.iter_mut().enumerate().min_by_key(|(_, load)| **load) else { return };
            *load += costs[unit];
            if lightest as u32 + 1 == shard.index {
                mine.insert(unit);
            }
        }
        self.entries.retain(|entry| mine.contains(&unit(entry)));
        self.left_out.retain(|(operation, _)| mine.contains(operation));
        let elsewhere = (0..operations).filter(|operation| !mine.contains(operation));
        self.left_out.extend(elsewhere.map(|operation| (operation, ELSEWHERE.to_owned())));
    }
}

impl super::Entry {
    /// Index of the operation that its cases are about.
    pub fn operation(&self) -> usize {
        match self {
            super::Entry::Case(case) => case.operation(),
            super::Entry::Random { operation, .. } => *operation,
        }
    }
}
