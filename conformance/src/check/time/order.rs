use chrono::DateTime;
use serde_json::Value;

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::collection::plain;
use crate::finding::Offending;

/// `time.order`.
pub(super) struct Order;

static META: Meta = Meta {
    id: "time.order",
    level: Level::Must,
    title: "nothing was changed before it was created, and nothing was created in the future",
    rationale: "Clients sort, page and synchronize by these times; a clock read in another time zone or unit shows here. RFC \
                3339 section 5.6.",
    sends: "nothing of its own; every JSON answer with such times is looked at",
    demands: "created is not after updated, and not later than now",
    guards: "only members named like `createdAt` and `updated_at` of one object, with full RFC 3339 times; a second for \
             rounding; five minutes for clocks that are not ours, two seconds where the clock is the harness's",
    fault: "updatedAt is an hour behind",
};

const CREATED: [&str; 4] = ["createdat", "created", "createdon", "createdtime"];
const UPDATED: [&str; 6] = ["updatedat", "updated", "updatedon", "modifiedat", "lastmodified", "lastmodifiedat"];

impl Check for Order {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let (Some(operation), true) = (seen.operation(), seen.response.status < 300) else { return };
        let Some(body) = seen.exchange.json() else { return };
        let clause = seen.clauses().time;
        let slack = if seen.virtual_clock { 2_000 } else { 300_000 };
        let mut looked = false;
        let mut wrong = None;
        objects(body, &mut String::new(), &mut |pointer, members| {
            let time = |names: &[&str]| {
                members.iter().find_map(|(name, value)| {
                    let time = DateTime::parse_from_rfc3339(value.as_str()?).ok()?.timestamp_millis();
                    names.contains(&plain(name).as_str()).then(|| (name.clone(), time))
                })
            };
            let Some((created_name, created)) = time(&CREATED) else { return };
            looked = true;
            if wrong.is_some() {
                return;
            }
            if created > seen.response.at_ms + slack {
                wrong = Some((pointer.to_owned(), created_name, "lies in the future".to_owned()));
            } else if let Some((name, updated)) = time(&UPDATED)
                && updated + 1_000 <= created
            {
                wrong = Some((pointer.to_owned(), name, format!("lies before `{created_name}`")));
            }
        });
        if !looked {
            return;
        }
        match wrong {
            None => verdicts.hold(clause),
            Some((pointer, name, what)) => {
                let broken = Break::new(&META, clause, format!("{}'s `{name}` {what}", operation.id))
                    .with_values("created, then updated, then now", format!("`{name}` {what}"))
                    .with_cause(format!("{name} {what}"))
                    .with_offending(Offending::Body(format!("{pointer}/{}", crate::clause::escape(&name))));
                verdicts.broke(broken);
            }
        }
    }
}

/// Every object in a value, with its pointer.
fn objects(value: &Value, pointer: &mut String, each: &mut dyn FnMut(&str, &serde_json::Map<String, Value>)) {
    let length = pointer.len();
    match value {
        Value::Object(members) => {
            each(pointer, members);
            for (name, member) in members {
                pointer.push('/');
                pointer.push_str(&crate::clause::escape(name));
                objects(member, pointer, each);
                pointer.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointer.push_str(&format!("/{index}"));
                objects(item, pointer, each);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}
