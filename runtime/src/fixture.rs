//! A contract by hand, for unit tests.

use crate::contract::*;
use crate::envelope::{Envelope, FieldForm, Member, Node, Presence};

pub(crate) static ENVELOPE: Envelope = Envelope {
    coded: Node::Object(&[
        Member::Named("error", Node::Code, Presence::Always),
        Member::Named("message", Node::Message, Presence::Always),
        Member::Named("details", Node::Details, Presence::IfAny),
    ]),
    plain: Node::Object(&[Member::Named("message", Node::Message, Presence::Always)]),
    code: &["/error"],
    message: &["/message"],
    details: &["/details"],
    fields: &[],
    field: FieldForm { field: "field", message: "message", rule: None },
};

pub(crate) static NOT_FOUND: Answer = Answer {
    status: 404,
    code: Some("not_found"),
    retry: RetryAdvice::Never,
    envelope: &ENVELOPE,
    details: DetailsForm::Empty,
};

pub(crate) static INTERNAL: Answer = Answer {
    status: 500,
    code: Some("internal"),
    retry: RetryAdvice::Backoff,
    envelope: &ENVELOPE,
    details: DetailsForm::Empty,
};

pub(crate) static REFUSALS: Refusals = Refusals {
    unauthenticated: None,
    wrong_scheme: None,
    forbidden: None,
    missing: None,
    invalid: None,
    several: None,
    malformed: None,
    media_type: None,
    too_large: None,
    limited: None,
    internal: &INTERNAL,
    unavailable: None,
};

pub(crate) static GET: Operation = Operation {
    id: "get",
    method: "GET",
    path: "/",
    tag: "all",
    summary: "",
    security: &[],
    scopes: &[],
    rate_classes: &[],
    quotas: &[],
    effect: Effect::Read,
    statuses: &[200, 500],
    codes: &["internal"],
    parameters: &[],
    body: None,
    refusals: &REFUSALS,
    missing: &[],
};

pub(crate) static POST: Operation = Operation {
    id: "post",
    method: "POST",
    path: "/",
    tag: "all",
    summary: "",
    security: &[],
    scopes: &[],
    rate_classes: &[],
    quotas: &[],
    effect: Effect::Write,
    statuses: &[200, 500],
    codes: &["internal"],
    parameters: &[],
    body: None,
    refusals: &REFUSALS,
    missing: &[],
};

pub(crate) static CONTRACT: Contract = Contract {
    name: "fixture",
    title: "Fixture",
    version: "1",
    operations: &[&GET, &POST],
    check_order: &[],
    schemes: &[],
    rate_limits: Some(&RateLimits {
        limit_header: None,
        remaining_header: None,
        reset_header: None,
        reset: ResetUnit::UnixSeconds,
        on: HeaderReach::None,
        retry_after: RetryAfterForm::DeltaSeconds,
        body_wait: Some("/details/wait"),
        classes: &[],
    }),
    quotas: &[],
    unmatched: Unmatched { path: &NOT_FOUND, method: &NOT_FOUND, limited: None, internal: &INTERNAL },
    request_id_header: "x-request-id",
    challenge: None,
    retry: Some(&Retry {
        statuses: &[429, 500, 503],
        max: 3,
        backoff: Backoff::Exponential,
        base_ms: 1_000,
        honour_retry_after: true,
        default_wait_s: Some(30),
        except_codes: &["spent"],
    }),
    schemas: "[]",
};
