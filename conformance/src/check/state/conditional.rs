use trueline_spec::contract::{Operation, ParameterPlace, StatusPattern};

use super::super::{Break, Check, Level, Meta, Sequence, Step, Verdicts};
use super::{chain, change_call, clause, differs, done, member, of_act, read_act, same, says_nothing, sent};
use crate::case::{Act, Call, Case, Expect, Twist};
use crate::finding::Offending;
use crate::plan::Planner;

/// `state.conditional`.
pub(super) struct Conditional;

static META: Meta = Meta {
    id: "state.conditional",
    level: Level::Must,
    title: "entity tags tell versions apart, and conditions on them are kept",
    rationale: "RFC 9110 sections 8.8.3 and 13.1: without them the last writer wins over changes that it has never seen. The \
                documented `ETag`, `If-Match`, `If-None-Match`, 304, 412 and 428.",
    sends: "for each kind of resource whose reading documents `ETag`: create one, read it, read it with `If-None-Match`, change \
            it with `If-Match`, read it, change and delete it with the tag that is now stale, without a tag, read it",
    demands: "304 for what has not changed; success for the current tag; another tag after a change; 412 for the stale one, with \
              nothing changed; 428 where it is documented and no tag is sent; no strong tag for two versions",
    guards: "304 only where the reading documents it; `If-Match` only where the write documents 412 or the header; a tag that \
             changes by itself between two readings says nothing",
    fault: "If-Match is ignored",
};

pub(super) fn documents(operation: &Operation, status: u16, header: &str) -> bool {
    operation.responses.iter().any(|one| one.status == StatusPattern::Exact(status))
        || operation
            .parameters
            .iter()
            .any(|one| one.place == ParameterPlace::Header && one.name.eq_ignore_ascii_case(header))
}

pub(super) fn has_tag(planner: &Planner<'_>, operation: usize) -> bool {
    let documented = planner.subject.operation(operation);
    documented
        .response(200)
        .is_some_and(|response| response.headers.iter().any(|header| header.name.eq_ignore_ascii_case("etag")))
}

pub(super) fn with_tag(planner: &Planner<'_>, call: &mut Call, header: &str, act: &str) {
    super::drop_header(planner, call, header);
    call.twist = Some(Twist::BoundHeader(header.to_owned(), of_act(act, "$response.header.ETag")));
}

impl Check for Conditional {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let Some(read) = handled.collection.read.filter(|read| has_tag(planner, *read)) else { continue };
            let Some(before) = read_act(planner, &handled, "before") else { continue };
            if documents(planner.subject.operation(read), 304, "if-none-match") {
                let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
                let Some(mut again) = read_act(planner, &handled, "again") else { continue };
                with_tag(planner, &mut again.call, "if-none-match", "before");
                chain(planner, &META, read, "conditional/read", vec![create, before.clone(), again], cases);
            }
            for write in [handled.collection.replace, handled.collection.patch].into_iter().flatten() {
                let documented = planner.subject.operation(write);
                let conditional = documents(documented, 412, "if-match");
                let Some((mut call, _)) = change_call(planner, &handled, write, "before") else { continue };
                let Some((create, _)) = planner.create_act(&handled, "create") else { continue };
                let Some(mut twin) = read_act(planner, &handled, "twin") else { continue };
                twin.call.twist = None;
                planner.point_at(&mut call, handled.collection, "create");
                let mut acts = vec![create, before.clone(), twin];
                if conditional {
                    with_tag(planner, &mut call, "if-match", "before");
                }
                acts.push(Act::new("change", call.clone()));
                acts.extend(read_act(planner, &handled, "after"));
                if conditional {
                    // Back to the first values, by the tag of the first version.
                    let Some(read) = handled.collection.read else { continue };
                    let mut stale = call.clone();
                    let fields = planner.fields(write, read);
                    planner.set_fields(&mut stale, &fields, 0);
                    acts.push(Act::new("stale", stale.clone()));
                    acts.extend(read_act(planner, &handled, "last"));
                    if documented.responses.iter().any(|one| one.status == StatusPattern::Exact(428)) {
                        let mut bare = stale;
                        bare.twist = None;
                        super::drop_header(planner, &mut bare, "if-match");
                        bare.expect = Expect::Refused { statuses: vec![428], codes: Vec::new() };
                        acts.push(Act::new("bare", bare));
                    }
                }
                chain(planner, &META, write, "conditional/write", acts, cases);
            }
            let Some(delete) = handled.collection.delete else { continue };
            if !documents(planner.subject.operation(delete), 412, "if-match")
                || !planner.can_call(delete, &handled.caller)
            {
                continue;
            }
            let writes = [handled.collection.patch, handled.collection.replace];
            let Some((mut change, _)) =
                writes.into_iter().flatten().find_map(|write| change_call(planner, &handled, write, "before"))
            else {
                continue;
            };
            planner.point_at(&mut change, handled.collection, "create");
            with_tag(planner, &mut change, "if-match", "before");
            let (Some((create, _)), Some(mut call), Some(last)) = (
                planner.create_act(&handled, "create"),
                planner.item_call(delete, &handled.caller, handled.collection, "create"),
                read_act(planner, &handled, "still-there"),
            ) else {
                continue;
            };
            with_tag(planner, &mut call, "if-match", "before");
            let acts = vec![create, before, Act::new("change", change), Act::new("stale", call), last];
            chain(planner, &META, delete, "conditional/delete", acts, cases);
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let crate::case::Script::Chain(chain) = &sequence.case.script else { return };
        let Some(clause) = clause(sequence, chain.about) else { return };
        let id = &sequence.subject.operation(chain.about).id;
        let broken = |what: &str, expected: &str, actual: String, act: &str| {
            Break::new(&META, clause, format!("{id} {what}"))
                .with_values(expected, actual)
                .with_cause(format!("{id} {what}"))
                .with_offending(Offending::Status)
                .in_act(act)
        };
        let Some(before) = done(sequence, "before") else { return };
        let Some(tag) = tag(before) else {
            // That the header is there is the business of response.headers.
            verdicts.inconclusive.push(clause);
            return;
        };
        if let Some(again) = sequence.act("again") {
            let status = again.exchange.status().unwrap_or_default();
            if says_nothing(again) || (status == 200 && self::tag(again) != Some(tag)) {
                verdicts.inconclusive.push(clause);
                return;
            }
            verdicts.decide(status == 304, clause, || {
                broken(
                    "answers what the caller has already",
                    "304, as the tag is the same",
                    status.to_string(),
                    "again",
                )
            });
            return;
        }
        if sequence.act("twin").is_some_and(|twin| self::tag(twin) != Some(tag)) {
            verdicts.inconclusive.push(clause);
            return;
        }
        let Some(change) = sequence.act("change") else { return };
        let status = change.exchange.status().unwrap_or_default();
        if says_nothing(change) {
            verdicts.inconclusive.push(clause);
            return;
        }
        if matches!(status, 412 | 428) {
            verdicts.broke(broken("refuses the current tag", "a success", status.to_string(), "change"));
            return;
        }
        if !(200..300).contains(&status) {
            return;
        }
        if let Some(after) = done(sequence, "after") {
            let changed =
                sequence.subject.settable(change.call.operation, after.call.operation).iter().any(
                    |name| matches!((member(before, name), member(after, name)), (Some(a), Some(b)) if !same(a, b)),
                );
            let strong = !tag.starts_with("W/");
            verdicts.decide(!(changed && strong && self::tag(after) == Some(tag)), clause, || {
                broken("leaves the tag as it was", "another ETag than before the change", tag.to_owned(), "after")
                    .with_offending(Offending::Header("etag".to_owned()))
            });
        }
        if let Some(stale) = sequence.act("stale").filter(|stale| !says_nothing(stale)) {
            let status = stale.exchange.status().unwrap_or_default();
            verdicts.decide(status == 412, clause, || broken("takes a stale tag", "412", status.to_string(), "stale"));
            if let (412, Some(after), Some(last)) = (status, done(sequence, "after"), done(sequence, "last")) {
                for name in sequence.subject.settable(stale.call.operation, last.call.operation) {
                    let (Some(was), now) = (member(after, &name), member(last, &name)) else { continue };
                    if sent(stale, &name).is_some() && !now.is_some_and(|now| same(now, was)) {
                        let what = format!("{id} answers 412 and changes `{name}` all the same");
                        verdicts
                            .broke(differs(&META, clause, &format!("{id} 412"), what, &name, was, now).in_act("last"));
                        return;
                    }
                }
            }
            if let (412, Some(there)) = (status, sequence.act("still-there"))
                && !says_nothing(there)
            {
                let status = there.exchange.status().unwrap_or_default();
                verdicts.decide(status < 300, clause, || {
                    broken("answers 412 and deletes all the same", "the resource", status.to_string(), "still-there")
                });
            }
        }
        if let Some(bare) = sequence.act("bare").filter(|bare| !says_nothing(bare)) {
            let status = bare.exchange.status().unwrap_or_default();
            verdicts.decide(status == 428, clause, || {
                broken("takes a change without a tag", "428, as documented", status.to_string(), "bare")
            });
        }
    }
}

fn tag(step: &Step) -> Option<&str> {
    step.exchange.response()?.header("etag")
}
