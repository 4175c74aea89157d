use trueline_spec::contract::StatusPattern;
use trueline_spec::vocabulary::Visibility;

use super::super::{Break, Check, Level, Meta, Sequence, Verdicts};
use super::{attacks, clause, is_makeable, own, says_nothing};
use crate::case::{Act, ArgumentValue, Case, Phase, Script};
use crate::finding::Offending;
use crate::plan::Planner;

/// `tenancy.no-existence-leak`.
pub(super) struct NoExistenceLeak;

static META: Meta = Meta {
    id: "tenancy.no-existence-leak",
    level: Level::Should,
    title: "a stranger cannot tell what exists from what does not",
    rationale: "RFC 9110 section 15.5.4: a server that wishes to hide the existence of a forbidden resource may answer 404. \
                Where foreign ids get 403 and unknown ones 404, ids can be tried out (CWE-203).",
    sends: "each operation whose path names a resource, as another tenant's principal: with a resource that exists, and with \
            an id that nothing has",
    demands: "the same status, and the same code where the dialect has codes",
    guards: "only principals whose `tenant` the profile states; not where `x-visibility: public`; not where the operation \
             documents 403 and asks for no scope, so that 403 can only be meant for this, or where the contract's \
             `refusals.foreign` is a 403",
    fault: "foreign ids get 403, unknown ones 404",
};

impl Check for NoExistenceLeak {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        let contract = &planner.subject.contract;
        let foreign = contract.envelope.as_ref().and_then(|one| one.vocabulary.refusals.foreign.as_ref());
        let told = foreign.and_then(|answer| contract.status_of(answer)) == Some(403);
        for (index, _, call) in attacks(planner) {
            let operation = planner.subject.operation(index);
            let forbidden = operation.responses.iter().any(|one| one.status == StatusPattern::Exact(403));
            let scoped = !operation.required_scopes.is_empty()
                || operation.security.iter().any(|one| one.schemes.values().any(|scopes| !scopes.is_empty()));
            let meant = forbidden && (told || (!scoped && operation.visibility.is_none()));
            if meant || operation.visibility == Some(Visibility::Public) {
                continue;
            }
            let foreign = own(planner, call);
            if !is_makeable(&foreign) {
                continue;
            }
            let last = operation.path_parameters().last().unwrap_or_default().to_owned();
            let mut unknown = foreign.clone();
            let mut changed = false;
            for argument in &mut unknown.arguments {
                if operation.parameters[argument.parameter].name == last
                    && matches!(argument.value, ArgumentValue::Bound(crate::case::Binding::Resource { .. }))
                    && let Some(nobody) = planner.unknown_id(index, argument.parameter)
                {
                    argument.value = ArgumentValue::Value(nobody);
                    changed = true;
                }
            }
            if changed {
                let acts = vec![Act::new("foreign", foreign), Act::new("unknown", unknown)];
                let id = format!("{}/existence", operation.id);
                cases.push(planner.chain(Phase::Access, META.id, id, index, acts, false));
            }
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let (Script::Chain(chain), true) = (&sequence.case.script, sequence.is_planned_by(&META)) else { return };
        let Some(clause) = clause(sequence.subject, chain.about) else { return };
        let answer = |act: &str| {
            let step = sequence.act(act)?;
            let code = step.exchange.json().and_then(|body| sequence.subject.code_of(body)).map(str::to_owned);
            Some((step.exchange.status()?, code))
        };
        let (Some(foreign), Some(unknown)) = (answer("foreign"), answer("unknown")) else { return };
        let refused = |status: u16| (400..500).contains(&status) && !says_nothing(status);
        if !refused(foreign.0) || !refused(unknown.0) {
            return;
        }
        let operation = sequence.subject.operation(chain.about);
        verdicts.decide(foreign == unknown, clause, || {
            let shown = |(status, code): &(u16, Option<String>)| match code {
                Some(code) => format!("{status} {code}"),
                None => status.to_string(),
            };
            Break::new(&META, clause, format!("{} tells strangers what exists", operation.id))
                .with_values(format!("{}, as for an id that nothing has", shown(&unknown)), shown(&foreign))
                .with_cause(format!("{} {}", foreign.0, unknown.0))
                .with_offending(Offending::Status)
                .in_act("foreign")
        });
    }
}
