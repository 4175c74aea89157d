use super::super::{Break, Check, Level, Meta, Seen, Sequence, Verdicts, state};
use crate::case::{Act, Case, Phase, Script};
use crate::finding::Offending;
use crate::plan::Planner;

/// `response.agrees`.
pub(super) struct Agrees;

static META: Meta = Meta {
    id: "response.agrees",
    level: Level::Must,
    title: "a header and a body field that state one fact agree",
    rationale: "Clients read one or the other; if they differ, one of them is misled. The contract's `rate-limits.body` \
                says which field repeats the header; what a list shows of an item and what the item itself shows are one fact, \
                too.",
    sends: "every 429 is looked at; for each kind of resource that can be listed and read: create one, read it, list them",
    demands: "the limit in the body equals the limit header; the item read has the id that was asked for; its members that \
              callers can set read the same in the list",
    guards: "only where the contract names both places and both are there as integers; only members with plain values that \
             both schemas have; nothing else is sent meanwhile",
    fault: "the body of a 429 states another limit than the header",
};

impl Check for Agrees {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let collection = handled.collection;
            let Some(listing) = collection.list.as_ref().filter(|one| one.id.is_some()) else { continue };
            let Some(read) = collection.read else { continue };
            if !planner.can_call(listing.operation, &handled.caller) || !planner.can_call(read, &handled.caller) {
                continue;
            }
            let (Some((create, _)), Some(read), Some(list)) = (
                planner.create_act(&handled, "create"),
                planner.item_call(read, &handled.caller, collection, "create"),
                state::pages(planner, &handled, listing, "page", 100, 20),
            ) else {
                continue;
            };
            let about = read.operation;
            let mut acts = vec![create, Act::new("read", read)];
            acts.extend(list);
            let id = format!("{}/agrees", planner.subject.operation(about).id);
            cases.push(planner.chain(Phase::Stateful, META.id, id, about, acts, true));
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let (Script::Chain(chain), true) = (&sequence.case.script, sequence.is_planned_by(&META)) else { return };
        let mut collections = sequence.subject.collections.iter();
        let Some(collection) = collections.find(|one| one.read == Some(chain.about)) else { return };
        let (Some(listing), Some(clause)) =
            (&collection.list, sequence.subject.clauses.of_operation(chain.about).state)
        else {
            return;
        };
        let Some(id) = state::made_id(sequence, collection, "create") else { return };
        let Some(read) = sequence.act("read").filter(|step| step.exchange.status() == Some(200)) else { return };
        let operation = sequence.subject.operation(chain.about);
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let pointer = collection.id.strip_prefix("$response.body#");
        let shown = pointer.and_then(|pointer| read.exchange.json()?.pointer(pointer)).map(text);
        if let Some(shown) = shown.filter(|shown| *shown != id) {
            let broken =
                Break::new(&META, clause, format!("{} answers with another item than was asked for", operation.id))
                    .with_values("the id in the path", shown)
                    .with_cause(format!("{} id", operation.id))
                    .with_offending(Offending::Body(pointer.unwrap_or_default().to_owned()))
                    .in_act("read");
            verdicts.broke(broken);
            return;
        }
        let item_id = listing.id.clone().unwrap_or_default();
        let pages = sequence.steps.iter().filter(|step| step.act.starts_with("page-"));
        let found = pages.filter_map(|step| Some((step, step.exchange.json()?.pointer(&listing.items)?.as_array()?)));
        let item = found.flat_map(|(step, items)| items.iter().map(move |item| (step, item)));
        let Some((step, item)) =
            item.into_iter().find(|(_, item)| item.pointer(&item_id).map(text).as_ref() == Some(&id))
        else {
            return;
        };
        let Some(create) = collection.create else { return };
        for name in sequence.subject.settable(create, chain.about) {
            let whole = read.exchange.json().and_then(|body| body.get(&name));
            let (Some(in_list), Some(alone)) = (item.get(&name), whole) else { continue };
            // A list may show the beginning of a long text.
            let cut = in_list.as_str().zip(alone.as_str()).is_some_and(|(short, whole)| {
                let short = short.trim_end_matches(['.', '…']);
                !short.is_empty() && whole.starts_with(short)
            });
            if cut || in_list.is_null() {
                continue;
            }
            if in_list.as_f64().zip(alone.as_f64()).map_or(in_list == alone, |(a, b)| a == b) {
                continue;
            }
            let lister = &sequence.subject.operation(listing.operation).id;
            let broken = Break::new(&META, clause, format!("{lister} and {} differ in `{name}`", operation.id))
                .with_values(format!("`{name}` is {alone}"), in_list.to_string())
                .with_cause(format!("{lister} {}", operation.id))
                .with_offending(Offending::Body(listing.items.clone()))
                .in_act(step.act.clone());
            verdicts.broke(broken);
            return;
        }
        verdicts.hold(clause);
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        if seen.response.status != 429 {
            return;
        }
        let Some(limits) = seen.contract().vocabulary.as_ref().and_then(|one| one.rate_limits.as_ref()) else { return };
        let (Some(header), Some(pointer)) = (&limits.headers.limit, &limits.body.limit) else { return };
        let Some(clause) = seen.clauses().rate_headers else { return };
        let header_value = seen.response.header(header).and_then(|text| text.trim().parse::<i64>().ok());
        let body_value =
            seen.exchange.json().and_then(|body| body.pointer(pointer)).and_then(serde_json::Value::as_i64);
        // A quota's answer has a limit of its own in the same place; it is not what the header tells of.
        let code = seen.exchange.json().and_then(|body| seen.subject.code_of(body));
        let limited =
            seen.contract().envelope.as_ref().and_then(|envelope| envelope.vocabulary.refusals.limited.as_ref());
        if code.is_some() && limited.and_then(|answer| answer.code()) != code {
            return;
        }
        if let (Some(in_header), Some(in_body)) = (header_value, body_value) {
            verdicts.decide(in_header == in_body, clause, || {
                Break::new(&META, clause, format!("{header} and the body's {pointer} differ"))
                    .with_values(format!("{in_header}, as in {header}"), in_body.to_string())
                    .with_cause("limit")
                    .with_offending(Offending::Body(pointer.clone()))
            });
        }
    }
}
