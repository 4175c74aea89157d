use super::super::{Break, Check, Level, Meta, Purpose, Seen, Sequence, Verdicts};
use super::{bad_call, doors, judge_refusal, refused, vocabulary};
use crate::case::{BadCredentialSource, Caller, Case, Phase, Script};
use crate::finding::Offending;
use crate::plan::Planner;
use crate::profile::BadCredentialKind;

/// `auth.rejects-expired`.
pub(super) struct RejectsExpired;

static META: Meta = Meta {
    id: "auth.rejects-expired",
    level: Level::Must,
    title: "a credential is good until its lifetime ends, and not after",
    rationale: "RFC 7519 section 4.1.4: a token must not be accepted on or after its expiration time. The contract's \
                `x-credential.lifetime`.",
    sends: "the profile's expired credentials on every operation of their scheme; where the clock can be moved, a session \
            just before and just after its lifetime",
    demands: "before: not 401; after: 401, with the code that the contract names for expired credentials",
    guards: "tokens count in whole seconds, so the last two seconds before the end are left alone",
    fault: "the expiry of tokens is ignored",
};

impl Check for RejectsExpired {
    fn meta(&self) -> &'static Meta {
        &META
    }

    fn plan(&self, planner: &Planner<'_>, cases: &mut Vec<Case>) {
        let expired =
            |credential: Option<&trueline_spec::vocabulary::Credential>| credential.and_then(|one| one.expired.clone());
        for door in doors(planner) {
            let (_, operation, scheme) = door;
            let answer = expired(vocabulary(planner, scheme));
            let of_scheme = planner.profile.bad_credentials.iter().enumerate();
            for (number, bad) in
                of_scheme.filter(|(_, bad)| bad.scheme == scheme && bad.kind == BadCredentialKind::Expired)
            {
                let expect = refused(planner, operation, &[answer.as_ref()]);
                let source = BadCredentialSource::Literal(bad.credential.clone());
                cases.extend(bad_call(planner, &META, door, &format!("expired-{number}"), source, expect));
            }
        }
        if !planner.options.virtual_clock {
            return;
        }
        // One operation of each scheme is enough: all stand behind one gate, and the clock moves for everybody.
        let mut done = Vec::new();
        for (index, operation, scheme) in doors(planner) {
            let lifetime = vocabulary(planner, scheme).and_then(|one| one.lifetime);
            let reads = operation.effect == trueline_spec::vocabulary::Effect::Read;
            let holder = planner
                .free_principals()
                .find(|(name, one)| one.scheme == scheme && one.login.is_some() && planner.can_bind(operation, name));
            if lifetime.is_none() || !reads || done.contains(&scheme) {
                continue;
            }
            if let Some((name, _)) = holder
                && let Some(mut call) = planner.plain_call(index, &Caller::FreshSession(name.to_owned()))
            {
                done.push(scheme);
                call.expect = refused(planner, operation, &[expired(vocabulary(planner, scheme)).as_ref()]);
                cases.push(Case {
                    id: format!("limits/expiry/{scheme}"),
                    phase: Phase::Limits,
                    check: META.id.into(),
                    script: Script::Expire(Box::new(call)),
                });
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        if matches!(seen.case.script, Script::Single(_)) {
            judge_refusal(&META, seen, verdicts, "an expired credential");
        }
    }

    fn judge_sequence(&self, sequence: &Sequence<'_>, verdicts: &mut Verdicts) {
        let Script::Expire(call) = &sequence.case.script else { return };
        let clauses = sequence.subject.clauses.of_operation(call.operation);
        let Some(&clause) = clauses.security.values().next() else { return };
        for step in sequence.steps {
            let Some(status) = step.exchange.status() else { return };
            let good = match step.purpose {
                Purpose::Expired => status == 401,
                _ => status != 401,
            };
            let code = step.exchange.json().and_then(|body| sequence.subject.code_of(body));
            let right_code = match (&call.expect, step.purpose) {
                (crate::case::Expect::Refused { codes, .. }, Purpose::Expired) => {
                    codes.is_empty() || code.is_none_or(|code| codes.iter().any(|wanted| wanted == code))
                }
                _ => true,
            };
            verdicts.decide(good && right_code, clause, || {
                let (title, expected) = match step.purpose {
                    Purpose::Expired => ("a credential is still taken after its lifetime", "401"),
                    _ => ("a credential is refused before its lifetime ends", "not 401"),
                };
                let title = if good { "an expired credential is refused with the wrong code" } else { title };
                Break::new(&META, clause, title)
                    .with_values(expected, format!("{status} {}", code.unwrap_or_default()))
                    .with_cause(title)
                    .with_offending(Offending::Status)
            });
        }
    }
}
