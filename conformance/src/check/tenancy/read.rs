use trueline_spec::vocabulary::{Effect, Visibility};

use super::super::{Break, Check, Level, Meta, Seen, Sequence, Verdicts};
use super::{attacks, clause, is_everybodys, says_nothing, status};
use crate::case::{Act, Binding, CallBody, Case, Expect, Phase, Script};
use crate::finding::Offending;
use crate::plan::Planner;

/// `tenancy.read`.
pub(super) struct Read;

static META: Meta = Meta {
    id: "tenancy.read",
    level: Level::Must,
    title: "another tenant's resources cannot be read",
    rationale: "OWASP API1:2023, broken object level authorization; CWE-639. The contract's `x-visibility`, or that two \
                principals of the profile belong to different tenants.",
    sends: "each reading operation whose path names a resource, with one tenant's resource as another tenant's principal; each \
            body member that names a resource, with one tenant's resource in another tenant's request",
    demands: "no success",
    guards: "only principals whose `tenant` the profile states; not where `x-visibility: public`, nor what comes out of such \
             an operation; a body member only where the service refuses ids that nothing has",
    fault: "one operation looks an id up without its owner",
};

impl Check for Read {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for (index, _, call) in attacks(planner) {
            let operation = planner.subject.operation(index);
            if operation.effect == Effect::Read && operation.visibility != Some(Visibility::Public) {
                cases.push(planner.single(Phase::Access, META.id, format!("{}/foreign", operation.id), call));
            }
        }
        for (index, operation) in planner.operations().filter(|(_, one)| one.is_secured()) {
            for caller in planner.callers(operation) {
                let Some(victim) = planner.stranger(&caller, index) else { continue };
                let crate::case::Caller::Principal(name) = &victim else { continue };
                for (pointer, call, unknown) in planner.naming_calls(index, &caller) {
                    let mut attack = call.clone();
                    let Some(CallBody::Value { bindings, .. }) = &mut attack.body else { continue };
                    let Some((_, binding)) = bindings.iter_mut().find(|(bound, _)| *bound == pointer) else { continue };
                    if is_everybodys(planner, binding) {
                        continue;
                    }
                    let Binding::Resource { group, .. } = binding else { continue };
                    let theirs = planner.principal(name).map(|one| one.group(name).to_owned()).unwrap_or_default();
                    *group = theirs;
                    attack.expect = crate::plan::out_of_reach();
                    let acts = vec![Act::new("unknown", unknown), Act::new("foreign", attack)];
                    let id = format!("{}/body{pointer}/foreign", operation.id);
                    cases.push(planner.chain(Phase::Access, META.id, id, index, acts, false));
                }
                break;
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let (Script::Single(_), Expect::Refused { .. }, true) =
            (&seen.case.script, &seen.call.expect, seen.is_planned_by(&META))
        else {
            return;
        };
        let (Some(operation), Some(clause)) = (seen.operation(), clause(seen.subject, seen.call.operation)) else {
            return;
        };
        let status = seen.response.status;
        if says_nothing(status) {
            verdicts.inconclusive.push(clause);
            return;
        }
        // An empty list of what hangs on a foreign thing shows nothing of it; whether it should be 404 is another matter.
        let empty = seen.exchange.json().is_some_and(|body| body.as_array().is_some_and(Vec::is_empty));
        verdicts.decide(status >= 300 || empty, clause, || {
            Break::new(&META, clause, format!("{} shows one tenant's resource to another", operation.id))
                .with_values("403 or 404", status.to_string())
                .with_cause(operation.id.clone())
                .with_offending(Offending::Status)
        });
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let (Script::Chain(chain), true) = (&sequence.case.script, sequence.is_planned_by(&META)) else { return };
        let Some(clause) = clause(sequence.subject, chain.about) else { return };
        let (Some(unknown), Some(foreign)) = (status(sequence, "unknown"), status(sequence, "foreign")) else { return };
        if says_nothing(foreign) || !(400..500).contains(&unknown) {
            return;
        }
        let operation = sequence.subject.operation(chain.about);
        verdicts.decide(foreign >= 300, clause, || {
            Break::new(&META, clause, format!("{} lets one tenant use another's resource", operation.id))
                .with_values(format!("{unknown}, as for an id that nothing has"), foreign.to_string())
                .with_cause(format!("{} body", operation.id))
                .with_offending(Offending::Status)
                .in_act("foreign")
        });
    }
}
