use super::super::{Break, Check, Level, Meta, Seen, Verdicts};
use crate::finding::Offending;

/// `auth.challenge`.
pub(super) struct Challenge;

static META: Meta = Meta {
    id: "auth.challenge",
    level: Level::Should,
    title: "a 401 says how to authenticate",
    rationale: "RFC 9110 section 15.5.2: a 401 must carry `WWW-Authenticate` with at least one challenge. Few contracts \
                document it, so it does not fail a run by itself.",
    sends: "nothing of its own; every 401 of a secured operation is looked at",
    demands: "`WWW-Authenticate` is there and starts with the name of a scheme",
    guards: "operations that take no credential (a login) are left out; so are schemes that are no HTTP authentication, \
             such as a key in a header of its own",
    fault: "401 comes without a challenge",
};

impl Check for Challenge {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        if seen.response.status != 401 {
            return;
        }
        let Some(operation) = seen.operation().filter(|operation| operation.is_secured()) else { return };
        let schemes = &seen.contract().security_schemes;
        let http = operation.security.iter().flat_map(|one| one.schemes.keys()).find(|name| {
            use trueline_spec::contract::SecurityKind::{Http, OAuth2, OpenIdConnect};
            let kind = schemes.get(*name).map(|scheme| &scheme.kind);
            matches!(kind, Some(Http { .. } | OAuth2 { .. } | OpenIdConnect { .. }))
        });
        let Some(name) = http else { return };
        let Some(&clause) = seen.clauses().of_operation(seen.call.operation).security.get(name) else { return };
        let challenge = seen.response.header("www-authenticate");
        let good = challenge.is_some_and(|text| text.starts_with(|c: char| c.is_ascii_alphabetic()));
        verdicts.decide(good, clause, || {
            Break::new(&META, clause, "a 401 does not say how to authenticate")
                .with_values("WWW-Authenticate with a challenge", challenge.unwrap_or("no such header").to_owned())
                .with_cause("no challenge")
                .with_offending(Offending::Header("www-authenticate".to_owned()))
        });
    }
}
