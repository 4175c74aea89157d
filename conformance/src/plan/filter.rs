//! Which operations are asked for, and what may be sent to them at all.

use trueline_spec::Contract;
use trueline_spec::contract::{Operation, ParameterPlace};
use trueline_spec::vocabulary::Effect;

use super::Planner;
use crate::case::{ArgumentValue, BadCredentialSource, Binding, Call, Caller, Case, Expect, Part, Script, Twist};
use crate::profile::{Safety, nearest};

/// Picks operations: `createAgent`, `id:create*`, `tag:Agents`, `path:/agents/*`, `method:DELETE`, `effect:costly`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    kind: Kind,
    pattern: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Id,
    Tag,
    Path,
    Method,
    Effect,
}

const KINDS: [(&str, Kind); 5] =
    [("id", Kind::Id), ("tag", Kind::Tag), ("path", Kind::Path), ("method", Kind::Method), ("effect", Kind::Effect)];

impl Filter {
    /// Reads a filter and makes sure that it picks something in this contract; the error names the nearest match.
    pub fn parse(text: &str, contract: &Contract) -> Result<Filter, String> {
        let (kind, pattern) = match text.split_once(':') {
            Some((kind, pattern)) => {
                let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
                let known = KINDS.iter().find(|(name, _)| *name == kind).map(|(_, kind)| *kind);
                let known = known.ok_or_else(|| {
                    let hint = nearest(kind, &names).map(|hint| format!("; did you mean `{hint}:`?"));
                    format!("`{kind}:` is not one of {}{}", names.join(", "), hint.unwrap_or_default())
                })?;
                (known, pattern)
            }
            None => (Kind::Id, text),
        };
        let filter = Filter { kind, pattern: pattern.to_owned() };
        if contract.operations.iter().any(|operation| filter.picks(operation)) {
            return Ok(filter);
        }
        let mut subjects: Vec<String> = contract.operations.iter().map(|operation| filter.subject(operation)).collect();
        subjects.sort();
        subjects.dedup();
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        let hint = match nearest(pattern, &subjects) {
            Some(hint) => format!("did you mean `{hint}`?"),
            None => format!("there are {}", subjects.join(", ")),
        };
        Err(format!("`{text}` picks no operation of the contract `{}`; {hint}", contract.name))
    }

    /// Whether it picks an operation.
    pub fn picks(&self, operation: &Operation) -> bool {
        matches(&self.pattern.to_lowercase(), &self.subject(operation).to_lowercase())
    }

    fn subject(&self, operation: &Operation) -> String {
        match self.kind {
            Kind::Id => operation.id.clone(),
            Kind::Tag => operation.tag.clone(),
            Kind::Path => operation.path.text.clone(),
            Kind::Method => operation.method.to_string(),
            Kind::Effect => match operation.effect {
                Effect::Read => "read",
                Effect::Write => "write",
                Effect::Costly => "costly",
                Effect::Destroy => "destroy",
            }
            .to_owned(),
        }
    }
}

/// `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(end)
}

impl Planner<'_> {
    /// Why a case is not sent at this level of safety, if it is not.
    pub(super) fn forbids(&self, case: &Case) -> Option<&'static str> {
        let calls = case.calls();
        if calls.iter().any(|call| self.excludes(call.operation)) {
            return Some("it needs an operation that is excluded");
        }
        // Whoever cannot log in again must not log out.
        let ends = |call: &&Call| {
            let Caller::Principal(name) = &call.caller else { return false };
            let operation = self.subject.operation(call.operation);
            let for_good = self.principal(name).is_some_and(|one| one.login.is_none() && self.accepts(operation, one));
            for_good && operation.is_secured() && super::bind::ends_a_session(operation)
        };
        match self.options.safety.or(self.profile.safety).unwrap_or_default() {
            Safety::Full => None,
            _ if calls.iter().any(ends) => Some("it would end a credential that the profile knows no login for"),
            Safety::Observe if calls.iter().all(|call| self.only_looks(call)) => None,
            Safety::Observe => Some("safety level `observe` sends nothing but GET, HEAD and OPTIONS"),
            Safety::Own => {
                // A race and a chain make what they touch.
                let single = !matches!(case.script, Script::Chain(_));
                let harmless = calls.iter().all(|call| self.touches_own(call, single));
                (!harmless).then_some("safety level `own` leaves alone what the run has not made itself")
            }
        }
    }

    fn only_looks(&self, call: &Call) -> bool {
        let operation = self.subject.operation(call.operation);
        let method = match &call.twist {
            Some(Twist::Method(method)) => method.as_str(),
            _ => operation.method.as_str(),
        };
        let makes = crate::run::bindings_of(call).iter().any(|binding| matches!(binding, Binding::Resource { .. }));
        matches!(method, "GET" | "HEAD" | "OPTIONS")
            && operation.effect == Effect::Read
            && !makes
            && !matches!(
                call.caller,
                Caller::Minted { .. } | Caller::Bad { credential: BadCredentialSource::Revoked { .. }, .. }
            )
    }

    fn touches_own(&self, call: &Call, single: bool) -> bool {
        let operation = self.subject.operation(call.operation);
        let twisted = matches!(&call.twist, Some(Twist::Method(method)) if method != "GET" && method != "HEAD");
        if operation.effect == Effect::Read && !twisted {
            return true;
        }
        // What the whole service stands and falls with is not the run's own, and a refusal that fails to come would end it.
        if super::bind::ends_everything(operation)
            && !matches!(call.expect, Expect::UnknownPath | Expect::UnknownMethod)
        {
            return false;
        }
        // Whoever must not be let in, names nothing that exists.
        // What must be limited, does nothing else.
        let limited = matches!(&call.expect, Expect::Refused { statuses, .. } if statuses.contains(&429));
        if limited
            || matches!(call.caller, Caller::Bad { .. })
            || matches!(call.expect, Expect::UnknownPath | Expect::UnknownMethod)
            || (matches!(call.caller, Caller::Anonymous) && operation.is_secured())
        {
            return true;
        }
        if super::bind::changes_the_account(operation) && !matches!(call.caller, Caller::Anonymous) {
            return false;
        }
        let names = operation.path_parameters().next().is_some();
        if !names {
            let own_session = matches!(call.caller, Caller::FreshSession(_) | Caller::Anonymous);
            // Without a name a removal is of everything, unless the body says what it is of.
            let of_something = matches!(call.caller, Caller::FreshSession(_)) || call.body.is_some();
            return match operation.effect {
                Effect::Destroy => own_session && of_something,
                // Settings of an account are nobody's to try things on.
                _ => operation.method == http::Method::POST || own_session,
            };
        }
        call.arguments.iter().filter(|one| operation.parameters[one.parameter].place == ParameterPlace::Path).all(
            |argument| match &argument.value {
                ArgumentValue::Bound(Binding::Profile { .. }) => operation.effect != Effect::Destroy || !single,
                ArgumentValue::Bound(_) => true,
                ArgumentValue::Value(value) => {
                    let unknown = self.unknown_id(call.operation, argument.parameter).as_ref() == Some(value);
                    let faulty = matches!(&call.expect, Expect::Invalid(fault) if fault.part == Part::Parameter(argument.parameter));
                    unknown || faulty || !matches!(call.expect, Expect::Valid { .. } | Expect::Invalid(_))
                }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_text() {
        assert!(matches("create*", "createagent"));
        assert!(matches("*agent", "createagent"));
        assert!(matches("/agents/*/query*", "/agents/{agentid}/query/"));
        assert!(matches("*", ""));
        assert!(!matches("create", "createagent"));
        assert!(!matches("a*b*c", "acb"));
    }
}
