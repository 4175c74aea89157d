use super::super::{Check, Level, Meta, Seen, Verdicts};
use super::{doors, judge_refusal, refused};
use crate::case::{BadCredentialSource, Caller, Case, Phase};
use crate::plan::Planner;

/// `auth.required`.
pub(super) struct Required;

/// What it sends, in its findings' words.
pub(super) const WITHOUT: &str = "a call without a credential";

static META: Meta = Meta {
    id: "auth.required",
    level: Level::Must,
    title: "a secured operation refuses callers without a credential",
    rationale: "OpenAPI 3.1, \"Security Requirement Object\"; RFC 9110 section 15.5.2; OWASP API2:2023.",
    sends: "each operation that documents a security requirement, once without any credential, whatever the scheme's type",
    demands: "401, with the code that the contract names for missing credentials",
    guards: "operations that also let anonymous callers in are left out; what the call names does not exist, so that a \
             service that lets it in loses nothing; where the document says nothing of 401, 403 refuses as well; a redirection \
             (to a login page) is inconclusive; where 404 comes, which may mean that nothing is looked at before the name, the \
             call is sent again with a name of the run's own",
    fault: "one operation forgets to ask for a token",
};

impl Check for Required {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for (index, operation) in planner.operations().filter(|(_, operation)| operation.is_secured()) {
            if let Some(mut call) = planner.harmless_call(index, &Caller::Anonymous) {
                call.expect = refused(planner, operation, &[]);
                cases.push(planner.single(Phase::Access, META.id, format!("{}/no-credential", operation.id), call));
            }
        }
        // Of several that are needed together, each is.
        for (index, operation, scheme) in doors(planner) {
            let several =
                operation.security.iter().any(|one| one.schemes.len() > 1 && one.schemes.contains_key(scheme));
            let caller = Caller::Bad { scheme: scheme.to_owned(), credential: BadCredentialSource::Absent };
            if let (true, Some(mut call)) = (several, planner.harmless_call(index, &caller)) {
                call.expect = refused(planner, operation, &[]);
                let id = format!("{}/{scheme}/absent", operation.id);
                cases.push(planner.single(Phase::Access, META.id, id, call));
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        judge_refusal(&META, seen, verdicts, WITHOUT);
    }
}
