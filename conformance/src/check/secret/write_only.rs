use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::members;
use crate::check::response;
use crate::finding::Offending;

/// `secret.write-only`.
pub(super) struct WriteOnly;

static META: Meta = Meta {
    id: "secret.write-only",
    level: Level::Must,
    title: "write-only properties are in no answer",
    rationale: "OpenAPI 3.1 and JSON Schema 2020-12 section 9.4: `writeOnly` values are never part of what is read.",
    sends: "nothing of its own; the members of every JSON answer are looked at",
    demands: "no member has the name of a property that is write-only or a secret in the contract",
    guards: "a name that the answer's own schema documents at that place is fine; null and empty values show nothing",
    fault: "a data source is answered with the password of its configuration",
};

impl Check for WriteOnly {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let names = seen.subject.secret_names();
        // Without an operation's own answers nobody can say which names are documented.
        if names.is_empty() || seen.response.status >= 400 || seen.operation().is_none() {
            return;
        }
        let documented =
            response::documented(seen).map(|(index, _)| seen.subject.readable_names(seen.call.operation, index));
        let clause = seen.clauses().secrets;
        let mut found = None;
        members(seen, |name, pointer| {
            let value = seen.exchange.json().and_then(|body| body.pointer(pointer));
            let empty = value.is_none_or(|value| value.is_null() || value == "" || value.is_boolean());
            if found.is_none()
                && names.contains(name)
                && !documented.is_some_and(|names| names.contains(name))
                && !empty
            {
                found = Some((name.to_owned(), pointer.to_owned()));
            }
        });
        match found {
            None => verdicts.hold(clause),
            Some((name, pointer)) => {
                let who = seen.operation().map_or("an unknown path", |operation| operation.id.as_str());
                let broken = Break::new(&META, clause, format!("an answer of {who} shows write-only `{name}`"))
                    .with_values(format!("no member `{name}`"), format!("a member at {pointer}"))
                    .with_cause(format!("{who} {name}"))
                    .with_offending(Offending::Body(pointer));
                verdicts.broke(broken);
            }
        }
    }
}
