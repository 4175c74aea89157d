//! Why a clause was not exercised: what nobody can be shown is not green, and the report says what was missing.

use std::collections::BTreeMap;

use trueline_spec::vocabulary::QuotaUnit;

use super::Run;
use crate::case::Phase;
use crate::clause::{Clause, ClauseKind};
use crate::profile::Purpose;
use crate::subject::lock;

pub(super) struct Reasons<'a> {
    run: &'a Run,
    by_operation: BTreeMap<usize, String>,
    interrupted: Option<String>,
}

impl<'a> Reasons<'a> {
    pub(super) fn new(run: &'a Run, interrupted: Option<&str>) -> Self {
        let by_operation = lock(&run.tally).reasons.clone();
        Reasons { run, by_operation, interrupted: interrupted.map(str::to_owned) }
    }

    pub(super) fn of(&self, clause: &Clause) -> String {
        let options = &self.run.plan_options;
        if let Some(operation) = clause.operation {
            if !self.run.planner().wants(operation) {
                return "the operation was not asked for".to_owned();
            }
            if let Some(reason) = self.by_operation.get(&operation) {
                return reason.clone();
            }
        }
        if let Some(interrupted) = &self.interrupted {
            return format!("the run ended early: {interrupted}");
        }
        let ran = |phase: Phase| options.phases.contains(&phase);
        let not_run = |phase: Phase| format!("phase `{phase}` was not run");
        let reserved = |purpose| self.run.planner().reserved(purpose).next().is_some();
        match &clause.kind {
            ClauseKind::Status(status) => self.of_status(clause, status),
            ClauseKind::Code(code) => {
                let status = self.run.subject.contract.error_codes().get(code).map(|code| code.status);
                status.map_or_else(String::new, |status| self.of_status(clause, &status.to_string()))
            }
            ClauseKind::RateClass(_) if !ran(Phase::Limits) => not_run(Phase::Limits),
            ClauseKind::RateClass(_) if !reserved(Purpose::Limits) => {
                "the profile reserves no principal for `limits`, so the class was not used up".to_owned()
            }
            ClauseKind::RateClass(_) => "no request of the profile's principals falls into this class alone".to_owned(),
            ClauseKind::StatedLimit if !ran(Phase::Limits) => not_run(Phase::Limits),
            ClauseKind::StatedLimit => "no answer that a principal of the profile got stated what is left".to_owned(),
            ClauseKind::Quota(_) if !ran(Phase::Limits) => not_run(Phase::Limits),
            ClauseKind::Quota(name)
                if self.run.subject.contract.quota(name).is_some_and(|quota| quota.unit == QuotaUnit::Seconds) =>
            {
                "it counts time, so that no number of calls uses it up".to_owned()
            }
            ClauseKind::Quota(_) => {
                "no principal of the profile is reserved for `quotas` and has a figure for this one".to_owned()
            }
            ClauseKind::State if !ran(Phase::Stateful) => not_run(Phase::Stateful),
            ClauseKind::State => {
                "no principal of the profile can make such a resource and do this to it, or the document does not say enough \
                 of its members"
                    .to_owned()
            }
            ClauseKind::Tenancy if !ran(Phase::Access) => not_run(Phase::Access),
            ClauseKind::Tenancy => {
                "the profile has no two principals of different `tenant` that can call it, or nothing that one of them owns"
                    .to_owned()
            }
            ClauseKind::Security if !ran(Phase::Access) => not_run(Phase::Access),
            ClauseKind::Constraint if !ran(Phase::Boundary) && !ran(Phase::Random) => not_run(Phase::Boundary),
            ClauseKind::Constraint => "no request violates this and nothing else on the wire".to_owned(),
            ClauseKind::ResponseSchema | ClauseKind::MediaType | ClauseKind::Header | ClauseKind::NoBody => {
                let status = clause.id.split('/').nth(1).unwrap_or_default();
                format!("no answer with status {status} came")
            }
            _ => "nothing that was sent could show it".to_owned(),
        }
    }

    fn of_status(&self, clause: &Clause, status: &str) -> String {
        let options = &self.run.plan_options;
        let ran = |phase: Phase| options.phases.contains(&phase);
        let name = clause.operation.map(|index| self.run.subject.operation(index));
        match status {
            "429" if !ran(Phase::Limits) => "phase `limits` was not run".to_owned(),
            "429" => "no counter that limits it could be used up with the profile's principals".to_owned(),
            "401" | "403" if !ran(Phase::Access) => "phase `access` was not run".to_owned(),
            "403" => "the profile has no principal that the service must refuse here (`denied`), and no good \
                      credential of a scheme that it does not take"
                .to_owned(),
            "402" => "the profile has no principal whose quota is used up".to_owned(),
            "409" | "412" | "423" => "needs a conflict that this version does not stage".to_owned(),
            "404" if name.is_some_and(|operation| operation.path_parameters().next().is_none()) => {
                "nothing in the request names something that could be missing".to_owned()
            }
            status if status.starts_with('5') => {
                "a failure inside the service cannot be provoked by any request the contract describes".to_owned()
            }
            status if status.starts_with('2') => {
                "no valid request was answered with it; see the operation's other answers".to_owned()
            }
            "default" => "every answer had a status of its own".to_owned(),
            _ => "nothing that was sent led to it".to_owned(),
        }
    }
}
