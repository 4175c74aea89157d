use super::super::{Check, Level, Meta, Seen, Verdicts};
use super::{bad_call, doors, judge_refusal, refused, vocabulary};
use crate::case::{Alteration, BadCredentialSource, Case};
use crate::data::Generator;
use crate::plan::Planner;

/// `auth.rejects-invalid`.
pub(super) struct RejectsInvalid;

static META: Meta = Meta {
    id: "auth.rejects-invalid",
    level: Level::Must,
    title: "credentials that nobody was given are refused",
    rationale: "RFC 9110 section 15.5.2; for tokens RFC 7519 section 7.2 and RFC 8725 section 3.1 (a token without a \
                signature is none).",
    sends: "each secured operation with a well-formed credential that nobody has; where a principal's token is a JWT, \
            with one character of its signature changed, and unsigned (`alg: none`)",
    demands: "401, with the code that the contract names",
    guards: "the changed character is in the middle of the signature: the last one may hold bits that mean nothing",
    fault: "signatures are not checked",
};

impl Check for RejectsInvalid {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for door in doors(planner) {
            let (_, operation, scheme) = door;
            let credential = vocabulary(planner, scheme);
            let expect = refused(planner, operation, &[credential.and_then(|one| one.unknown.as_ref())]);
            let holder = planner.free_principals().find(|(_, one)| one.holds(scheme));
            let is_jwt = credential.is_some_and(|one| one.format == trueline_spec::vocabulary::CredentialFormat::Jwt);
            if let (Some((principal, _)), true) = (holder, is_jwt) {
                for (name, how) in [("forged", Alteration::Corrupted), ("unsigned", Alteration::Unsigned)] {
                    let source = BadCredentialSource::Altered { principal: principal.to_owned(), how };
                    cases.extend(bad_call(planner, &META, door, name, source, expect.clone()));
                }
            } else {
                let source = BadCredentialSource::Literal(unknown(credential.and_then(|one| one.pattern.as_deref())));
                cases.extend(bad_call(planner, &META, door, "unknown", source, expect));
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        judge_refusal(&META, seen, verdicts, "a credential that nobody was given");
    }
}

/// A credential of the right form that nobody has: a fixed one, so that every run sends the same.
fn unknown(pattern: Option<&str>) -> String {
    pattern
        .and_then(|pattern| Generator::new(&serde_json::json!({"type": "string", "pattern": pattern})).ok())
        .and_then(|generator| generator.sample(0x7265_6675_7365_6421, 0).as_str().map(str::to_owned))
        .unwrap_or_else(|| "trueline-0f3c1d7e9b5a4826-nobody".to_owned())
}
