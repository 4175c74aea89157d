use super::super::{Check, Level, Meta, Seen, Verdicts};
use super::{bad_call, doors, judge_refusal, refused, vocabulary};
use crate::case::{BadCredentialSource, Caller, Case, Expect, Phase};
use crate::plan::Planner;

/// `auth.token-kind`.
pub(super) struct TokenKind;

static META: Meta = Meta {
    id: "auth.token-kind",
    level: Level::Must,
    title: "a credential of one kind does not pass for another",
    rationale: "A refresh token lives for days and must not open what an access token opens (RFC 6749 section 1.5; RFC \
                8725 section 3.12). A good credential of a scheme that an operation does not list proves who one is, not \
                that one may; the contract's `refusals.wrong-scheme`.",
    sends: "each secured operation with a principal's refresh token, and with good credentials of schemes that it does \
            not list",
    demands: "a refresh token: 401; another scheme: the status and code of `refusals.wrong-scheme`, or 401 or 403 where \
              the contract does not say",
    guards: "only where the profile says where the refresh token stands; another scheme only where both travel in the same \
             header",
    fault: "refresh tokens are taken as access tokens",
};

impl Check for TokenKind {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        for door in doors(planner) {
            let (_, operation, scheme) = door;
            let credential = vocabulary(planner, scheme);
            let holder = planner.free_principals().find_map(|(name, one)| {
                let refresh = one.login.as_ref()?.refresh.clone()?;
                (one.scheme == scheme).then(|| (name.to_owned(), refresh))
            });
            if let Some((principal, pointer)) = holder {
                let expect = refused(
                    planner,
                    operation,
                    &[
                        credential.and_then(|one| one.malformed.as_ref()),
                        credential.and_then(|one| one.unknown.as_ref()),
                    ],
                );
                let source = BadCredentialSource::FromLogin { principal, pointer };
                cases.extend(bad_call(planner, &META, door, "refresh-token", source, expect));
            }
        }
        for (index, operation) in planner.operations().filter(|(_, operation)| operation.is_secured()) {
            let schemes = &planner.subject.contract.security_schemes;
            let wrong =
                planner.subject.contract.envelope.as_ref().and_then(|one| one.vocabulary.refusals.wrong_scheme.clone());
            let listed: Vec<_> = operation.security.iter().flat_map(|one| one.schemes.keys()).collect();
            let foreign = planner.free_principals().find(|(_, one)| {
                !listed.iter().any(|scheme| **scheme == one.scheme)
                    // In a place of its own it is as good as nothing, unless the contract says what it gets.
                    && (wrong.is_some() || listed.iter().any(|scheme| {
                        let kind = |name: &str| schemes.get(name).map(|scheme| &scheme.kind);
                        matches!((kind(scheme), kind(&one.scheme)), (Some(a), Some(b)) if same_place(a, b))
                    }))
            });
            let Some((name, _)) = foreign else { continue };
            let expect = match &wrong {
                Some(answer) => Expect::Refused {
                    statuses: planner.subject.contract.status_of(answer).into_iter().collect(),
                    codes: planner.codes(operation, &[answer.code()]),
                },
                None => Expect::Refused { statuses: vec![401, 403], codes: Vec::new() },
            };
            if let Some(mut call) = planner.harmless_call(index, &Caller::Principal(name.to_owned())) {
                call.expect = expect;
                cases.push(planner.single(
                    Phase::Access,
                    META.id,
                    format!("{}/other-scheme/{name}", operation.id),
                    call,
                ));
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        judge_refusal(&META, seen, verdicts, "a credential of another kind");
    }
}

/// Whether two schemes travel in the same place, so that one can be mistaken for the other.
fn same_place(a: &trueline_spec::contract::SecurityKind, b: &trueline_spec::contract::SecurityKind) -> bool {
    use trueline_spec::contract::SecurityKind::{ApiKey, Http, OAuth2, OpenIdConnect};
    match (a, b) {
        (Http { scheme: a, .. }, Http { scheme: b, .. }) => a == b,
        (Http { scheme, .. }, OAuth2 { .. } | OpenIdConnect { .. })
        | (OAuth2 { .. } | OpenIdConnect { .. }, Http { scheme, .. }) => scheme == "bearer",
        (OAuth2 { .. } | OpenIdConnect { .. }, OAuth2 { .. } | OpenIdConnect { .. }) => true,
        (ApiKey { place: p, name: a }, ApiKey { place: q, name: b }) => p == q && a.eq_ignore_ascii_case(b),
        _ => false,
    }
}
