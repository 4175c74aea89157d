use std::collections::HashSet;

use serde_json::Value;

use super::super::{Break, Check, Level, Meta, Sequence, Step, Verdicts};
use super::{clause, made_id, of_act, says_nothing};
use crate::case::{Act, ArgumentValue, Binding, Case, Phase, Twist};
use crate::collection::{Listing, Paging as Way};
use crate::finding::Offending;
use crate::plan::{Handled, Planner};

/// `state.paging`.
pub(super) struct Paging;

static META: Meta = Meta {
    id: "state.paging",
    level: Level::Must,
    title: "the pages of a list have everything, nothing twice, no more than asked for, and an end",
    rationale: "A client that walks the pages counts, copies or bills what it finds. The paging parameters of the document; \
                RFC 8288 for `rel=\"next\"`.",
    sends: "for each list with pages: create five items; walk the list in pages of 20; walk its first pages in pages of two",
    demands: "no page has more items than its limit; no id comes twice; all five are there; the small pages begin as the large \
              ones do; the walk comes to an end",
    guards: "nothing else is sent meanwhile; only where the items' schema has an id; a walk that does not end within 40 pages \
             shows repetitions only",
    fault: "each page begins with the last item of the one before",
};

/// Items that are created, so that pages of two are several.
const MADE: usize = 5;
const PAGES: usize = 40;
const LARGE: u64 = 20;
const SMALL: u64 = 2;

impl Check for Paging {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for handled in planner.handled() {
            let Some(listing) = handled.collection.list.as_ref().filter(|one| one.id.is_some()) else { continue };
            if listing.paging.is_none() || !planner.can_call(listing.operation, &handled.caller) {
                continue;
            }
            let mut acts = Vec::new();
            for number in 1..=MADE {
                acts.extend(planner.create_act(&handled, &format!("create-{number}")).map(|(act, _)| act));
            }
            let Some(large) = pages(planner, &handled, listing, "large", LARGE, PAGES) else { continue };
            acts.extend(large);
            if listing.limit.is_some() {
                acts.extend(pages(planner, &handled, listing, "small", SMALL, 4).unwrap_or_default());
            }
            let id = format!("{}/paging", planner.subject.operation(listing.operation).id);
            cases.push(planner.chain(Phase::Stateful, META.id, id, listing.operation, acts, true));
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        if !sequence.is_planned_by(&META) {
            return;
        }
        let Some(collection) = super::collection_of(sequence) else { return };
        let Some(listing) = &collection.list else { return };
        let Some(clause) = clause(sequence, listing.operation) else { return };
        let operation = sequence.subject.operation(listing.operation);
        let broken = |what: &str, expected: String, actual: String, step: &Step| {
            Break::new(&META, clause, format!("{} {what}", operation.id))
                .with_values(expected, actual)
                .with_cause(format!("{} {what}", operation.id))
                .with_offending(Offending::Body(listing.items.clone()))
                .in_act(step.act.clone())
        };
        let mut walks = Vec::new();
        for prefix in ["large", "small"] {
            let steps = walk(sequence, prefix);
            let Some(last) = steps.last().copied() else { continue };
            // A next page that cannot be had is a broken promise of the page before; anything else says nothing.
            if let [.., before, last] = steps.as_slice()
                && !says_nothing(last)
                && last.exchange.status() != Some(200)
                && has_next(listing, before)
            {
                let status = last.exchange.status().unwrap_or_default().to_string();
                verdicts.broke(broken("promises a page that cannot be had", "the next page".to_owned(), status, last));
                return;
            }
            if steps.iter().any(|step| step.exchange.status() != Some(200)) {
                verdicts.inconclusive.push(clause);
                return;
            }
            let limit = listing.limit.and_then(|parameter| {
                let argument = last.call.arguments.iter().find(|one| one.parameter == parameter)?;
                match &argument.value {
                    ArgumentValue::Value(value) => value.as_u64(),
                    ArgumentValue::Bound(_) => None,
                }
            });
            let mut seen = HashSet::new();
            let mut order = Vec::new();
            for step in &steps {
                let Some(ids) = super::ids(listing, step) else {
                    verdicts.inconclusive.push(clause);
                    return;
                };
                if let Some(limit) = limit.filter(|limit| ids.len() as u64 > *limit) {
                    let (expected, actual) = (format!("at most {limit} items"), ids.len().to_string());
                    verdicts.broke(broken("gives more items than asked for", expected, actual, step));
                    return;
                }
                for id in ids {
                    if !seen.insert(id.clone()) {
                        let (expected, actual) = ("each item once".to_owned(), "an item that came before".to_owned());
                        verdicts.broke(broken("repeats an item on a later page", expected, actual, step));
                        return;
                    }
                    order.push(id);
                }
            }
            let ended = !has_next(listing, last);
            let empty = steps.len() >= 3
                && steps[steps.len() - 2..]
                    .iter()
                    .all(|step| super::ids(listing, step).is_some_and(|ids| ids.is_empty()));
            if !ended && empty {
                let (expected, actual) =
                    ("no next page after the last item".to_owned(), "empty pages on and on".to_owned());
                verdicts.broke(broken("never ends", expected, actual, last));
                return;
            }
            walks.push((order, ended, last));
        }
        let Some((all, ended, last)) = walks.first() else { return };
        if *ended {
            let missing = (1..=MADE)
                .filter_map(|number| made_id(sequence, collection, &format!("create-{number}")))
                .find(|id| !all.contains(id));
            if missing.is_some() {
                let (expected, actual) = ("every item that was created".to_owned(), "one is on no page".to_owned());
                verdicts.broke(broken("leaves items out", expected, actual, last));
                return;
            }
        }
        if let Some((small, small_ended, step)) = walks.get(1) {
            let begins = all.len() >= small.len() && all[..small.len()] == small[..];
            let stops = *small_ended && *ended && small.len() < all.len();
            if (!begins && all.len() >= small.len()) || stops {
                let (expected, actual) = ("what the large pages begin with".to_owned(), "other items".to_owned());
                verdicts.broke(broken("gives other items in small pages", expected, actual, step));
                return;
            }
        }
        verdicts.hold(clause);
    }
}

/// The acts that walk a list: `page-1`, `page-2` and so on, each only if the one before promises it.
pub(in crate::check) fn pages(
    planner: &Planner<'_>,
    handled: &Handled<'_>,
    listing: &Listing,
    prefix: &str,
    limit: u64,
    most: usize,
) -> Option<Vec<Act>> {
    let mut first = planner.plain_call(listing.operation, &handled.caller)?;
    planner.point_at(
        &mut first,
        handled.collection,
        if prefix == "large" || prefix == "small" { "create-1" } else { "create" },
    );
    let mut limit_set = None;
    if let Some(parameter) = listing.limit {
        let generator = planner.subject.parameter_generator(listing.operation, parameter)?;
        let fits = |limit: &u64| generator.is_valid(&Value::from(*limit));
        let chosen = [limit, 100, 50, 25, 20, 10, 5, 2, 1].into_iter().filter(|one| *one <= limit).find(fits);
        limit_set = chosen;
        if let Some(chosen) = chosen {
            planner.set_parameter(&mut first, parameter, ArgumentValue::Value(Value::from(chosen)));
        }
    }
    let mut acts = vec![Act::new(format!("{prefix}-1"), first.clone())];
    let Some(way) = &listing.paging else { return Some(acts) };
    for number in 2..=most {
        let before = format!("{prefix}-{}", number - 1);
        let full = |value: u64| Binding::IfFull {
            name: before.clone(),
            pointer: listing.items.clone(),
            at_least: limit_set.unwrap_or(1),
            value: Value::from(value),
        };
        let mut call = first.clone();
        match way {
            Way::Cursor { parameter, pointer } => {
                let cursor = of_act(&before, &format!("$response.body#{pointer}"));
                planner.set_parameter(&mut call, *parameter, ArgumentValue::Bound(cursor));
            }
            Way::Next { pointer } => {
                call.twist = Some(Twist::Follow(of_act(&before, &format!("$response.body#{pointer}"))));
            }
            Way::Link => call.twist = Some(Twist::Follow(of_act(&before, "$response.header.Link#next"))),
            Way::Offset { parameter } => {
                let skipped = (number as u64 - 1) * limit_set?;
                planner.set_parameter(&mut call, *parameter, ArgumentValue::Bound(full(skipped)));
            }
            Way::Page { parameter } => {
                planner.set_parameter(&mut call, *parameter, ArgumentValue::Bound(full(number as u64)));
            }
        }
        acts.push(Act::optional(format!("{prefix}-{number}"), call));
    }
    Some(acts)
}

/// The pages of a walk, in order.
pub(super) fn walk<'a>(sequence: &Sequence<'a>, prefix: &str) -> Vec<&'a Step> {
    let of_walk = |step: &&Step| {
        step.act
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    sequence.steps.iter().filter(of_walk).collect()
}

/// Whether a page promises another one.
pub(super) fn has_next(listing: &Listing, step: &Step) -> bool {
    let text = |pointer: &str| {
        let value = step.exchange.json().and_then(|body| body.pointer(pointer));
        value.is_some_and(|value| !value.is_null() && *value != "" && *value != Value::Bool(false))
    };
    match &listing.paging {
        None => false,
        Some(Way::Cursor { pointer, .. } | Way::Next { pointer }) => text(pointer),
        Some(Way::Link) => step.exchange.response().is_some_and(|response| {
            response.header("link").is_some_and(|link| link.to_ascii_lowercase().replace('"', "").contains("rel=next"))
        }),
        Some(Way::Offset { .. } | Way::Page { .. }) => {
            let limit = listing.limit.and_then(|parameter| {
                let argument = step.call.arguments.iter().find(|one| one.parameter == parameter)?;
                match &argument.value {
                    ArgumentValue::Value(value) => value.as_u64(),
                    ArgumentValue::Bound(_) => None,
                }
            });
            let count = super::items(listing, step).map_or(0, Vec::len) as u64;
            count > 0 && limit.is_none_or(|limit| count >= limit)
        }
    }
}
