use serde_json::Value;

use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use super::members;
use crate::check::response;
use crate::finding::Offending;

/// `secret.shown-once`.
pub(super) struct ShownOnce;

static META: Meta = Meta {
    id: "secret.shown-once",
    level: Level::Must,
    title: "a secret that is shown once is in the answer that creates it, and in no other",
    rationale: "The contract's `x-secret: shown-once`: a key that can be read again is as good as stored in the clear.",
    sends: "nothing of its own; every answer to a reading operation is looked at",
    demands: "no member has the name of a property that is shown once",
    guards: "the creating operation's own answer; null, empty and masked values (`abc…`, `****`); a property of the same \
             name that the answer documents as no secret",
    fault: "a list of keys shows them whole",
};

impl Check for ShownOnce {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        let Some(operation) = seen.operation().filter(|_| seen.response.status < 300) else { return };
        let Some((response, _)) = response::documented(seen).filter(|_| operation.method != http::Method::POST) else {
            return;
        };
        let names = seen.subject.shown_once_names();
        if names.is_empty() {
            return;
        }
        let clause = seen.clauses().secrets;
        let mut found = None;
        members(seen, |name, pointer| {
            let value = seen.exchange.json().and_then(|body| body.pointer(pointer)).and_then(Value::as_str);
            let whole = value.is_some_and(|text| !text.is_empty() && !text.contains('*') && !text.contains('…'));
            let plain = || seen.subject.is_plain_name(seen.call.operation, response, name);
            if found.is_none() && whole && names.contains(name) && !plain() {
                found = Some(pointer.to_owned());
            }
        });
        match found {
            None => verdicts.hold(clause),
            Some(pointer) => {
                let broken =
                    Break::new(&META, clause, format!("{} shows a secret that is shown only once", operation.id))
                        .with_values("the secret only in the answer that creates it", format!("a member at {pointer}"))
                        .with_cause(operation.id.clone())
                        .with_offending(Offending::Body(pointer));
                verdicts.broke(broken);
            }
        }
    }
}
