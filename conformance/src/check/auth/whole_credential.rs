use super::super::{Check, Level, Meta, Seen, Verdicts};
use super::{bad_call, doors, judge_refusal, refused, vocabulary};
use crate::case::{Alteration, BadCredentialSource, Case};
use crate::plan::Planner;

/// `auth.whole-credential`.
pub(super) struct WholeCredential;

static META: Meta = Meta {
    id: "auth.whole-credential",
    level: Level::Must,
    title: "a credential counts as a whole",
    rationale: "Looking a key up by its prefix, or comparing only as many bytes as were sent, lets a guessed part in. \
                CWE-1023, CWE-187.",
    sends: "each secured operation with a principal's good credential, once without its last four characters, once with \
            four more, and once with another character in its middle",
    demands: "401",
    guards: "the credential itself works, as every other case of the run shows",
    fault: "keys are compared by their first sixteen characters",
};

impl Check for WholeCredential {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for door in doors(planner) {
            let (_, operation, scheme) = door;
            let Some((principal, _)) = planner.free_principals().find(|(_, one)| one.holds(scheme)) else {
                continue;
            };
            let credential = vocabulary(planner, scheme);
            let answers =
                [credential.and_then(|one| one.malformed.as_ref()), credential.and_then(|one| one.unknown.as_ref())];
            for (name, how) in [
                ("truncated", Alteration::Truncated),
                ("extended", Alteration::Extended),
                ("changed", Alteration::Corrupted),
            ] {
                let expect = refused(planner, operation, &answers);
                let source = BadCredentialSource::Altered { principal: principal.to_owned(), how };
                cases.extend(bad_call(planner, &META, door, name, source, expect));
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        judge_refusal(&META, seen, verdicts, "a part of a good credential, or more than it");
    }
}
