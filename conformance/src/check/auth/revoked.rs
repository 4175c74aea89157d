use super::super::{Check, Level, Meta, Seen, Verdicts};
use super::{bad_call, doors, judge_refusal, refused, vocabulary};
use crate::case::{BadCredentialSource, Case};
use crate::plan::Planner;
use crate::profile::BadCredentialKind;

/// `auth.rejects-revoked`.
pub(super) struct RejectsRevoked;

static META: Meta = Meta {
    id: "auth.rejects-revoked",
    level: Level::Must,
    title: "a credential that was taken back is refused",
    rationale: "Revocation is the only remedy after a leak. RFC 7009 section 2.2; the contract's `x-credential.revoked`.",
    sends: "the profile's revoked credentials on every operation of their scheme; where credentials can be made through the \
            API (`mint`) and taken back, one that was",
    demands: "401, with the code that the contract names for revoked credentials",
    guards: "only credentials that the profile says are revoked, or whose taking back was answered with success",
    fault: "revoked keys keep working",
};

impl Check for RejectsRevoked {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for door in doors(planner) {
            let (_, operation, scheme) = door;
            let credential = vocabulary(planner, scheme);
            // One that was taken back long ago may have expired since; either is a reason.
            let answers =
                [credential.and_then(|one| one.revoked.as_ref()), credential.and_then(|one| one.expired.as_ref())];
            for (number, bad) in planner.profile.bad_credentials.iter().enumerate() {
                if bad.scheme == scheme && bad.kind == BadCredentialKind::Revoked {
                    let expect = refused(planner, operation, &answers);
                    let source = BadCredentialSource::Literal(bad.credential.clone());
                    cases.extend(bad_call(planner, &META, door, &format!("revoked-{number}"), source, expect));
                }
            }
            let minter = planner.minters().find(|(by, _)| planner.minted_scheme(by) == Some(scheme));
            if let Some((by, _)) = minter.filter(|(by, _)| planner.revocable(by).is_some()) {
                let expect = refused(planner, operation, &answers);
                let source = BadCredentialSource::Revoked { by: by.to_owned() };
                cases.extend(bad_call(planner, &META, door, "taken-back", source, expect));
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        judge_refusal(&META, seen, verdicts, "a revoked credential");
    }
}
