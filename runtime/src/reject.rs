//! Refusals that are made from the contract alone: what is wrong with a request, and the dialect's answer to it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::contract::{Answer, Contract, DetailsForm, Fact, Operation, Place, RateClass};
use crate::envelope::Content;
use crate::gate::Standing;
use crate::problem::FieldError;
use crate::reply::{self, Response};

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where it stands.
    pub place: Place,
    /// JSON Pointer: into the body, or `/<name>` of a parameter and on into its value.
    pub pointer: String,
    /// The rule that it breaks: a JSON Schema keyword.
    pub rule: Cow<'static, str>,
    /// A text for people that reads after the field's name: `is required`, `must be at most 2`. It never repeats the
    /// value that was sent, which may be a secret.
    pub message: Cow<'static, str>,
}

impl Violation {
    /// The field's name for people: `name`, `config.url`, `ids.0`; `body` for the whole body.
    pub fn field(&self) -> String {
        match self.pointer.strip_prefix('/') {
            None => self.place.as_str().to_owned(),
            Some(path) => path.split('/').map(unescape).collect::<Vec<_>>().join("."),
        }
    }

    fn is_absence(&self) -> bool {
        self.rule == "required"
    }
}

/// A token of a JSON Pointer in clear (RFC 6901 section 4).
fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// A token of a JSON Pointer as it is written (RFC 6901 section 3).
pub(crate) fn escape(token: &str) -> Cow<'_, str> {
    if token.contains(['~', '/']) { token.replace('~', "~0").replace('/', "~1").into() } else { token.into() }
}

/// How a request fails before a handler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// Exactly one required field is absent.
    Missing,
    /// Exactly one field is wrong.
    Invalid,
    /// More than one thing is wrong, or one that is no field's.
    Several,
    /// The body cannot be read, or is not of the type that the operation reads.
    Malformed,
    /// The body's media type is not one of the operation's.
    MediaType,
    /// The body is larger than the operation takes.
    TooLarge,
    /// A path parameter's value names nothing.
    NotFound,
    /// Our own fault.
    Internal,
}

/// A request that is not what the operation takes.
#[derive(Debug)]
pub struct Rejection {
    /// How it fails.
    pub kind: RejectionKind,
    /// Everything that is wrong, in the order of path, query, headers, cookies, body.
    pub violations: Vec<Violation>,
    /// For [`RejectionKind::NotFound`]: the documented answer.
    pub not_found: Option<&'static Answer>,
}

impl Rejection {
    /// A rejection of the whole body.
    pub fn body(kind: RejectionKind, rule: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let violation =
            Violation { place: Place::Body, pointer: String::new(), rule: rule.into(), message: message.into() };
        Rejection { kind, violations: vec![violation], not_found: None }
    }

    /// Our own fault; the message goes to the log, not to the caller.
    pub fn internal(message: &'static str) -> Self {
        Rejection::body(RejectionKind::Internal, "internal", message)
    }

    /// A rejection for everything that was found wrong; there must be something.
    pub fn of(violations: Vec<Violation>) -> Self {
        let kind = match violations.as_slice() {
            [one] if one.pointer.is_empty() && one.rule == "type" => RejectionKind::Malformed,
            [one] if one.pointer.is_empty() => RejectionKind::Several,
            [one] if one.is_absence() => RejectionKind::Missing,
            [_] => RejectionKind::Invalid,
            _ => RejectionKind::Several,
        };
        Rejection { kind, violations, not_found: None }
    }
}

/// A refusal and everything that its details may need.
#[derive(Debug, Default, Clone, Copy)]
pub struct Refusal<'a> {
    /// The violations behind it.
    pub violations: &'a [Violation],
    /// Where the caller stands in the rate class that refused it.
    pub standing: Option<&'a Standing>,
    /// That class.
    pub class: Option<&'static RateClass>,
    /// The path parameters as they were sent.
    pub path: &'a [(&'static str, String)],
    /// The scopes that the operation needs.
    pub required_scopes: &'a [&'static str],
    /// The scopes that the credential has; `None`: all.
    pub granted_scopes: Option<&'a [String]>,
    /// The largest body in bytes.
    pub max_bytes: u64,
    /// The answer is for one part alone, and lists no fields.
    pub unlisted: bool,
}

/// Why an answer is given, for its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No credential.
    Unauthenticated,
    /// A good credential, where another one is needed beside it.
    Incomplete,
    /// A good credential of the wrong kind.
    WrongScheme,
    /// A scope is missing.
    Forbidden,
    /// See [`RejectionKind`].
    Rejected(RejectionKind),
    /// Over the limit.
    Limited,
    /// Our own fault.
    Internal,
    /// No such path.
    UnmatchedPath,
    /// No such method on this path.
    UnmatchedMethod,
}

impl Why {
    /// The text for people.
    fn message(self, refusal: &Refusal<'_>) -> Cow<'static, str> {
        let first = refusal.violations.first();
        let of_first = |fallback: &'static str| match first {
            Some(violation) => Cow::Owned(sentence(violation)),
            None => fallback.into(),
        };
        match self {
            Why::Unauthenticated => "Authentication is required.".into(),
            Why::Incomplete => "Another credential is needed beside this one.".into(),
            Why::WrongScheme => "This kind of credential is not good for this operation.".into(),
            Why::Forbidden => match missing_scope(refusal) {
                Some(scope) => format!("The credential lacks the scope {scope}.").into(),
                None => "The credential does not give this right.".into(),
            },
            Why::Limited => match refusal.standing {
                Some(standing) if standing.wait_seconds == 1 => "Too many requests. Try again in 1 second.".into(),
                Some(standing) => format!("Too many requests. Try again in {} seconds.", standing.wait_seconds).into(),
                None => "Too many requests.".into(),
            },
            Why::Internal | Why::Rejected(RejectionKind::Internal) => "Something went wrong on our side.".into(),
            Why::UnmatchedPath => "There is nothing at this path.".into(),
            Why::UnmatchedMethod => "This path does not have this method.".into(),
            Why::Rejected(RejectionKind::Missing | RejectionKind::Invalid) => of_first("The request is not valid."),
            Why::Rejected(RejectionKind::Several) => match refusal.violations {
                [_] => of_first("The request is not valid."),
                several => format!("The request is not valid: {} things are wrong.", several.len()).into(),
            },
            Why::Rejected(RejectionKind::Malformed | RejectionKind::MediaType) => {
                of_first("The request body cannot be read.")
            }
            Why::Rejected(RejectionKind::TooLarge) => {
                format!("The request body is larger than {} bytes.", refusal.max_bytes).into()
            }
            Why::Rejected(RejectionKind::NotFound) => "There is no such resource.".into(),
        }
    }
}

fn sentence(violation: &Violation) -> String {
    match violation.place {
        Place::Body if violation.pointer.is_empty() => format!("The request body {}.", violation.message),
        Place::Body => format!("The field \"{}\" {}.", violation.field(), violation.message),
        place => format!("The {} parameter \"{}\" {}.", place.as_str(), violation.field(), violation.message),
    }
}

fn missing_scope(refusal: &Refusal<'_>) -> Option<&'static str> {
    let granted = refusal.granted_scopes?;
    refusal.required_scopes.iter().copied().find(|scope| !granted.iter().any(|granted| granted == scope))
}

/// The dialect's answer to a refusal.
pub fn answer(answer: &'static Answer, why: Why, refusal: &Refusal<'_>) -> Response {
    let details = match &answer.details {
        DetailsForm::Empty => Value::Null,
        DetailsForm::Messages => messages(refusal.violations),
        DetailsForm::Object(members) => {
            let filled = members.iter().filter_map(|(name, fact)| Some(((*name).to_owned(), known(*fact, refusal)?)));
            Value::Object(filled.collect())
        }
    };
    let fields: Vec<FieldError> = refusal
        .violations
        .iter()
        .filter(|_| !refusal.unlisted)
        .map(|violation| FieldError {
            field: violation.field(),
            message: violation.message.clone().into_owned(),
            rule: violation.rule.clone().into_owned(),
        })
        .collect();
    let message = why.message(refusal);
    reply::failure(
        answer,
        &answer.envelope.render(Content {
            status: answer.status,
            code: answer.code,
            message: &message,
            details: &details,
            fields: &fields,
        }),
    )
}

/// An answer as the platform gives it, with something to say about every fact: generated tests hold it to the
/// contract's schemas.
#[doc(hidden)]
pub fn specimen(chosen: &'static Answer, contract: &Contract) -> Response {
    let violation = |field: &str, rule: &'static str, message: &'static str| Violation {
        place: Place::Body,
        pointer: format!("/{field}"),
        rule: rule.into(),
        message: message.into(),
    };
    let mut path = Vec::new();
    if let DetailsForm::Object(members) = &chosen.details {
        path.extend(members.iter().filter_map(|(_, fact)| match fact {
            Fact::PathParameter(name) => Some((*name, "as it was sent".to_owned())),
            _ => None,
        }));
    }
    let class = contract.rate_limits.and_then(|limits| limits.classes.first().copied());
    let standing = Standing { allowed: false, limit: 10, remaining: 0, reset_unix: 1_700_000_000, wait_seconds: 17 };
    let violations = [violation("name", "required", "is required"), violation("config/url", "format", "must be a URI")];
    let refusal = Refusal {
        violations: &violations,
        standing: Some(&standing),
        class,
        path: &path,
        required_scopes: &["things:write"],
        granted_scopes: Some(&["things:read".to_owned()]),
        max_bytes: 1024,
        unlisted: false,
    };
    answer(chosen, Why::Rejected(RejectionKind::Several), &refusal)
}

fn messages(violations: &[Violation]) -> Value {
    let mut by_field = Map::new();
    for violation in violations {
        // A body that cannot be read has no fields to speak of.
        if violation.pointer.is_empty() && violation.rule == "syntax" {
            continue;
        }
        let list = by_field.entry(violation.field()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(Value::from(violation.message.as_ref()));
        }
    }
    Value::Object(by_field)
}

fn known(fact: Fact, refusal: &Refusal<'_>) -> Option<Value> {
    let first = refusal.violations.first();
    Some(match fact {
        Fact::Field => first?.field().into(),
        Fact::Reason => first?.message.as_ref().into(),
        Fact::Messages => messages(refusal.violations),
        Fact::Wait => refusal.standing?.wait_seconds.into(),
        Fact::Limit => refusal.standing?.limit.into(),
        Fact::Remaining => refusal.standing?.remaining.into(),
        Fact::Reset => refusal.standing?.reset_unix.into(),
        Fact::ResetAt => {
            let seconds = i64::try_from(refusal.standing?.reset_unix).ok()?;
            crate::Timestamp(chrono::DateTime::from_timestamp(seconds, 0)?).to_string().into()
        }
        Fact::Window => refusal.class?.window_name().into(),
        Fact::PathParameter(name) => {
            refusal.path.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value.as_str())?.into()
        }
        Fact::RequiredScope => missing_scope(refusal).or_else(|| refusal.required_scopes.first().copied())?.into(),
        Fact::RequiredScopes => refusal.required_scopes.iter().copied().collect(),
        Fact::GrantedScopes => refusal.granted_scopes.unwrap_or_default().iter().map(String::as_str).collect(),
        Fact::MaxBytes => refusal.max_bytes.into(),
        Fact::Constant(text) => serde_json::from_str(text).ok()?,
    })
}

/// The documented answer to a rejection; the internal error when there is none, which generation rules out.
pub(crate) fn answer_to(rejection: &Rejection, operation: &Operation, contract: &Contract) -> (&'static Answer, Why) {
    let refusals = &operation.refusals;
    let chosen = match rejection.kind {
        RejectionKind::Missing => {
            let absent = rejection.violations.first();
            let own = operation.missing.iter().find(|missing| {
                absent.is_some_and(|absent| absent.place == missing.place && absent.field() == missing.name)
            });
            own.map(|missing| missing.answer).or(refusals.missing)
        }
        RejectionKind::Invalid => refusals.invalid,
        RejectionKind::Several => refusals.several,
        RejectionKind::Malformed => refusals.malformed,
        RejectionKind::MediaType => refusals.media_type,
        RejectionKind::TooLarge => refusals.too_large,
        RejectionKind::NotFound => rejection.not_found,
        RejectionKind::Internal => None,
    };
    match chosen {
        Some(answer) => (answer, Why::Rejected(rejection.kind)),
        None => {
            tracing::error!(
                contract = contract.name,
                operation = operation.id,
                kind = ?rejection.kind,
                violations = ?rejection.violations,
                "a request was rejected in a way that the contract has no answer for"
            );
            (refusals.internal, Why::Internal)
        }
    }
}
