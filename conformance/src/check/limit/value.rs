use super::super::{Break, Check, Level, Meta, Purpose, Seen, Sequence, Verdicts};
use super::stated::{Told, offending};
use super::{limits, number, scheme};
use crate::finding::Offending;

/// `limit.value`.
pub(super) struct Value;

static META: Meta = Meta {
    id: "limit.value",
    level: Level::Must,
    title: "the limit header states the documented limit",
    rationale: "Clients plan by the documented figure; one that differs is a change of contract. The contract's \
                `rate-limits.classes`, or the profile's `limits` for this deployment.",
    sends: "nothing of its own; every answer of an operation with rate classes is looked at; without classes, the requests of \
            limit.countdown",
    demands: "the header is the limit of the last class of the operation that applies to the caller; on a 429, of any; without \
              classes, one window has one limit",
    guards: "calls whose credential is refused count as anonymous or not at all, so any class's figure will do there; without \
             classes only answers to one caller and one request, which name one end of the window",
    fault: "the header states twice the limit",
};

impl Check for Value {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let (Some(limits), Some(operation)) = (limits(seen), seen.operation()) else { return };
        let Some(stated) = number(seen.response, limits.headers.limit.as_ref()) else { return };
        let of = |name: &str| {
            let documented = limits.classes.get(name).map(|class| class.limit);
            seen.profile.limits.get(name).copied().or(documented).and_then(|limit| i64::try_from(limit).ok())
        };
        let applying = seen.subject.classes_of(operation, scheme(seen));
        let certain =
            !matches!(seen.call.caller, crate::case::Caller::Bad { .. }) && !matches!(seen.response.status, 401 | 429);
        let candidates: Vec<(String, i64)> = if certain {
            applying.last().and_then(|(name, _)| Some((name.clone(), of(name)?))).into_iter().collect()
        } else {
            operation.rate_limits.iter().filter_map(|name| Some((name.clone(), of(name)?))).collect()
        };
        let Some((name, limit)) = candidates.iter().find(|(_, limit)| *limit == stated).or(candidates.first()) else {
            return;
        };
        let Some(&clause) = seen.clauses().classes.get(name) else { return };
        verdicts.decide(*limit == stated, clause, || {
            let header = limits.headers.limit.clone().unwrap_or_default();
            Break::new(&META, clause, format!("class `{name}` states another limit than the contract"))
                .with_values(limit.to_string(), stated.to_string())
                .with_cause(name.clone())
                .with_offending(Offending::Header(header.to_ascii_lowercase()))
        });
    }
    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let Some(told) = Told::of(sequence) else { return };
        for run in told.runs() {
            let Some(limit) = run.first.limit else { continue };
            let other = run.rest.iter().filter_map(|one| one.limit).find(|other| *other != limit);
            verdicts.decide(other.is_none(), told.clause, || {
                let title = format!("{}: the limit changes within a window", told.who);
                Break::new(&META, told.clause, title)
                    .with_values(limit.to_string(), other.map(|other| other.to_string()).unwrap_or_default())
                    .with_cause(format!("{} {}", told.who, run.first.name))
                    .with_offending(offending(&run.first.header))
                    .during(Purpose::Count)
            });
        }
    }
}
