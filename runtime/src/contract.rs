//! A contract as constant data: what the router, the gate, a docs page and the tests read.
//!
//! Nobody types these values: `cargo xtask generate` writes them from the contract's document.

use crate::envelope::Envelope;

/// The whole API.
#[derive(Debug)]
pub struct Contract {
    /// One lower-case word.
    pub name: &'static str,
    /// The document's title.
    pub title: &'static str,
    /// The document's version.
    pub version: &'static str,
    /// In the order of the document.
    pub operations: &'static [&'static Operation],
    /// The order in which a request is judged; the first step that fails, answers.
    pub check_order: &'static [CheckStep],
    /// The schemes by which a caller proves who it is; [`Schemes`] has one bit for each, in this order.
    pub schemes: &'static [SecurityScheme],
    /// The rate classes and their headers, if the contract has any.
    pub rate_limits: Option<&'static RateLimits>,
    /// Budgets that outlive a rate window.
    pub quotas: &'static [Quota],
    /// What a request gets that no operation judges: its path or method is unknown, or its caller is over the limit.
    pub unmatched: Unmatched,
    /// The header that carries the request id.
    pub request_id_header: &'static str,
    /// The value of `WWW-Authenticate` on a 401 (RFC 9110 section 11.6.1), if a scheme has one.
    pub challenge: Option<&'static str>,
    /// When the documented clients try again, if the contract says so.
    pub retry: Option<&'static Retry>,
    /// The JSON Schemas of bodies and parameters: an array, one schema a line, in the order of their indices.
    pub schemas: &'static str,
}

/// One method on one path.
#[derive(Debug)]
pub struct Operation {
    /// The operation id, as the document spells it.
    pub id: &'static str,
    /// Upper case.
    pub method: &'static str,
    /// The path template.
    pub path: &'static str,
    /// The section of the documentation that it belongs to.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Alternatives of which one suffices; each lists the schemes that are needed together. Empty: no credential is
    /// looked at. An empty alternative: anonymous callers are welcome too.
    pub security: &'static [Schemes],
    /// All are needed.
    pub scopes: &'static [&'static str],
    /// The rate classes that count a call.
    pub rate_classes: &'static [&'static RateClass],
    /// Names of the quotas that count a call.
    pub quotas: &'static [&'static str],
    /// What a call does to the service's state.
    pub effect: Effect,
    /// Every status that the document lists, ascending.
    pub statuses: &'static [u16],
    /// Every code that the document lists for it.
    pub codes: &'static [&'static str],
    /// In the order of the document; path parameters first, in the order of the path.
    pub parameters: &'static [Parameter],
    /// The request body, if it takes one.
    pub body: Option<&'static Body>,
    /// What each refusal turns into here; only documented answers.
    pub refusals: &'static Refusals,
    /// Required parts whose absence has an answer of its own, where nothing else is wrong.
    pub missing: &'static [Missing],
}

/// A required part of a request whose absence has an answer of its own.
#[derive(Debug)]
pub struct Missing {
    /// Where it belongs.
    pub place: Place,
    /// The name of the parameter, or of the property of the body.
    pub name: &'static str,
    /// The answer.
    pub answer: &'static Answer,
}

/// A step in the judgement of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStep {
    /// Rate limits.
    Limit,
    /// Who is asking.
    Authenticate,
    /// May they.
    Authorize,
    /// Is the request well formed.
    Validate,
    /// Does what it names exist.
    Find,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Makes or changes something.
    Write,
    /// Spends money or a quota.
    Costly,
    /// Takes something away.
    Destroy,
}

/// A way to prove who one is.
#[derive(Debug)]
pub struct SecurityScheme {
    /// As the document names it.
    pub name: &'static str,
    /// What goes where.
    pub kind: SchemeKind,
}

/// What goes where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemeKind {
    /// `Authorization: Bearer …`, for JWTs, opaque tokens, OAuth 2 and OpenID Connect alike.
    Bearer,
    /// `Authorization: Basic …`.
    Basic,
    /// `Authorization` with another scheme, lower case.
    OtherHttp(&'static str),
    /// A header by this name.
    Header(&'static str),
    /// A query parameter by this name.
    Query(&'static str),
    /// A cookie by this name.
    Cookie(&'static str),
    /// A client certificate.
    MutualTls,
}

/// A set of security schemes of one contract: bit n stands for the n-th of [`Contract::schemes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Schemes(pub u32);

impl Schemes {
    /// No scheme at all.
    pub const NONE: Schemes = Schemes(0);

    /// The schemes of either set.
    pub const fn and(self, other: Schemes) -> Schemes {
        Schemes(self.0 | other.0)
    }

    /// Whether every scheme of `other` is here too.
    pub const fn contains(self, other: Schemes) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any scheme is in both.
    pub const fn meets(self, other: Schemes) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for Schemes {
    type Output = Schemes;
    fn bitor(self, other: Schemes) -> Schemes {
        self.and(other)
    }
}

/// The rate classes and how a caller learns where it stands.
#[derive(Debug)]
pub struct RateLimits {
    /// Header with the requests allowed in the window.
    pub limit_header: Option<&'static str>,
    /// Header with the requests left in the window.
    pub remaining_header: Option<&'static str>,
    /// Header with the end of the window.
    pub reset_header: Option<&'static str>,
    /// The unit of the reset header.
    pub reset: ResetUnit,
    /// Which responses carry the headers.
    pub on: HeaderReach,
    /// The form of `Retry-After` on a 429.
    pub retry_after: RetryAfterForm,
    /// JSON Pointer to the seconds to wait, in the body of a 429.
    pub body_wait: Option<&'static str>,
    /// In the order of the document.
    pub classes: &'static [&'static RateClass],
}

/// One rate class.
#[derive(Debug, PartialEq, Eq)]
pub struct RateClass {
    /// As the document names it.
    pub name: &'static str,
    /// Requests allowed in a window.
    pub limit: u64,
    /// The window's length in seconds.
    pub window_seconds: u64,
    /// What one counter belongs to.
    pub per: Per,
    /// Which requests it counts.
    pub when: When,
}

/// What a counter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// The person behind the credential.
    User,
    /// The credential itself.
    Credential,
    /// The caller's address.
    Ip,
    /// The tenant.
    Organization,
    /// The value of this path parameter, whoever asks.
    Path(&'static str),
}

/// Which requests a rate class counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Every request of the operations that name the class.
    Always,
    /// Those without a credential that is good for the operation.
    Anonymous,
    /// Those whose credential is of one of these schemes.
    Scheme(Schemes),
    /// Those of either kind.
    AnonymousOr(Schemes),
}

/// A budget over a long window.
#[derive(Debug)]
pub struct Quota {
    /// As the document names it.
    pub name: &'static str,
    /// The code that an exhausted quota answers.
    pub code: &'static str,
    /// What one counter belongs to.
    pub per: Per,
    /// When it starts again.
    pub window: QuotaWindow,
    /// How much, when the contract states it.
    pub limit: Option<u64>,
}

/// When a quota starts again, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaWindow {
    /// At midnight.
    Day,
    /// On the first of the month.
    Month,
}

/// The unit of the reset header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetUnit {
    /// Seconds since 1970-01-01T00:00:00Z.
    UnixSeconds,
    /// Seconds from now.
    DeltaSeconds,
}

/// Which responses carry the rate-limit headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderReach {
    /// All, failures and the router's own answers included.
    EveryResponse,
    /// Only 429.
    LimitedOnly,
    /// None.
    None,
}

/// The form of `Retry-After` on a 429 (RFC 9110 section 10.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfterForm {
    /// Seconds.
    DeltaSeconds,
    /// A date.
    HttpDate,
    /// The header is not part of the contract.
    None,
}

/// When a client tries again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// The statuses worth another try.
    pub statuses: &'static [u16],
    /// Tries after the first.
    pub max: u32,
    /// How the pause grows.
    pub backoff: Backoff,
    /// The first pause in milliseconds.
    pub base_ms: u64,
    /// Wait at least as long as the answer says.
    pub honour_retry_after: bool,
    /// The wait in seconds after a 429 that does not state one.
    pub default_wait_s: Option<u64>,
    /// Codes that are not worth a try although their status is.
    pub except_codes: &'static [&'static str],
}

/// How the pause between tries grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Doubles: base, 2 base, 4 base.
    Exponential,
    /// A random part of the doubled pause.
    ExponentialJitter,
}

/// A failing answer: a status and, where the dialect has codes, a code.
#[derive(Debug)]
pub struct Answer {
    /// From 400 to 599.
    pub status: u16,
    /// The machine code, if the dialect has one for it.
    pub code: Option<&'static str>,
    /// How a client may go on.
    pub retry: RetryAdvice,
    /// The dialect's envelope.
    pub envelope: &'static Envelope,
    /// How the details are filled when the platform gives this answer.
    pub details: DetailsForm,
}

/// What a client does about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAdvice {
    /// The same request fails again.
    Never,
    /// After the wait that the answer states.
    After,
    /// After a growing pause.
    Backoff,
    /// Once, with a renewed credential.
    Refresh,
}

/// How the details of an answer are filled from what the platform knows.
#[derive(Debug)]
pub enum DetailsForm {
    /// Nothing to say.
    Empty,
    /// One property each; those whose fact is unknown are left out.
    Object(&'static [(&'static str, Fact)]),
    /// An object of field name to list of messages.
    Messages,
}

/// Something that the platform knows about a refusal.
#[derive(Debug, Clone, Copy)]
pub enum Fact {
    /// The name of the first wrong field: `name`, `config.url`, `ids.0`.
    Field,
    /// What is wrong with it.
    Reason,
    /// An object of field name to list of messages.
    Messages,
    /// Seconds to wait.
    Wait,
    /// Requests allowed in the window.
    Limit,
    /// Requests left in the window.
    Remaining,
    /// The end of the window in Unix seconds.
    Reset,
    /// The end of the window as a date-time.
    ResetAt,
    /// The window's length in words: `minute`, `hour`, `day`, or its seconds.
    Window,
    /// A path parameter's value, as it was sent.
    PathParameter(&'static str),
    /// The first scope that is needed and not granted.
    RequiredScope,
    /// Every scope that is needed.
    RequiredScopes,
    /// Every scope that the credential has.
    GrantedScopes,
    /// The largest body in bytes.
    MaxBytes,
    /// This JSON text.
    Constant(&'static str),
}

/// What each refusal turns into. `None`: it cannot happen there.
#[derive(Debug)]
pub struct Refusals {
    /// No credential at all, or one that is no good.
    pub unauthenticated: Option<&'static Answer>,
    /// A good credential of a kind that the operation does not take.
    pub wrong_scheme: Option<&'static Answer>,
    /// A good credential without the scope or role.
    pub forbidden: Option<&'static Answer>,
    /// Exactly one required field is absent.
    pub missing: Option<&'static Answer>,
    /// Exactly one field is wrong.
    pub invalid: Option<&'static Answer>,
    /// More than one thing is wrong.
    pub several: Option<&'static Answer>,
    /// The body cannot be read.
    pub malformed: Option<&'static Answer>,
    /// The body's media type is not one of the operation's.
    pub media_type: Option<&'static Answer>,
    /// The body is larger than the operation takes.
    pub too_large: Option<&'static Answer>,
    /// A rate class is exhausted.
    pub limited: Option<&'static Answer>,
    /// The service failed.
    pub internal: &'static Answer,
    /// The service cannot answer now.
    pub unavailable: Option<&'static Answer>,
}

/// What a request gets that no operation judges.
#[derive(Debug)]
pub struct Unmatched {
    /// No operation has this path.
    pub path: &'static Answer,
    /// The path exists, the method does not.
    pub method: &'static Answer,
    /// A rate class is exhausted.
    pub limited: Option<&'static Answer>,
    /// The service failed.
    pub internal: &'static Answer,
}

/// A parameter outside the body.
#[derive(Debug)]
pub struct Parameter {
    /// As the document spells it.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    /// Must it be there.
    pub required: bool,
    /// How its value is written.
    pub style: Style,
    /// One name per item or property.
    pub explode: bool,
    /// What its text stands for.
    pub kind: Kind,
    /// Index in [`Contract::schemas`].
    pub schema: usize,
    /// For a path parameter whose bad value names nothing: the documented 404.
    pub not_found: Option<&'static Answer>,
}

/// Where something stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query string.
    Query,
    /// In a header.
    Header,
    /// In a cookie.
    Cookie,
    /// In the body.
    Body,
}

impl Place {
    /// Lower case, as the document has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
            Place::Cookie => "cookie",
            Place::Body => "body",
        }
    }
}

/// How a parameter's value is written (OpenAPI 3.1, "Style Values").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Comma-separated, in paths and headers.
    Simple,
    /// In queries and cookies.
    Form,
    /// Items joined by a space.
    SpaceDelimited,
    /// Items joined by `|`.
    PipeDelimited,
    /// `name[property]=value`.
    DeepObject,
    /// A JSON text (`content: application/json`).
    Json,
}

/// What a text stands for, so that it can be turned into a JSON value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Itself.
    String,
    /// A decimal integer.
    Integer,
    /// A decimal number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Items of one kind.
    Array(&'static Kind),
    /// Properties of given kinds, and the kind of all others, if others are allowed.
    Object(&'static [(&'static str, Kind)], Option<&'static Kind>),
    /// A JSON text.
    Json,
    /// The content of a file (multipart bodies only).
    File,
}

/// A request body.
#[derive(Debug)]
pub struct Body {
    /// Must it be there.
    pub required: bool,
    /// The media types that it may have; ranges such as `text/*` are possible.
    pub media_types: &'static [&'static str],
    /// How it is read.
    pub form: BodyForm,
    /// Index in [`Contract::schemas`]; `None`: any bytes.
    pub schema: Option<usize>,
    /// The largest body in bytes.
    pub max_bytes: u64,
}

/// How a body is read.
#[derive(Debug)]
pub enum BodyForm {
    /// A JSON text (RFC 8259).
    Json,
    /// `application/x-www-form-urlencoded`.
    Form(&'static [(&'static str, Kind)]),
    /// `multipart/form-data` (RFC 7578).
    Multipart(&'static [Part]),
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// A part of a multipart body.
#[derive(Debug)]
pub struct Part {
    /// The part's name.
    pub name: &'static str,
    /// What it holds; [`Kind::File`] parts are spooled.
    pub kind: Kind,
    /// The media types that the document asks for; empty: any.
    pub media_types: &'static [&'static str],
    /// Whether it may stand more than once.
    pub repeated: bool,
}

impl Operation {
    /// Whether anonymous callers may call.
    pub fn admits_anonymous(&self) -> bool {
        self.security.is_empty() || self.security.iter().any(|alternative| alternative.is_empty())
    }

    /// Whether credentials of these schemes open this operation.
    pub fn admits(&self, schemes: Schemes) -> bool {
        self.security.iter().any(|alternative| !alternative.is_empty() && schemes.contains(*alternative))
    }

    /// Whether credentials of these schemes are at least a part of what opens this operation.
    pub fn knows(&self, schemes: Schemes) -> bool {
        self.security.iter().any(|alternative| alternative.meets(schemes))
    }

    /// Whether the document lists this answer for the operation.
    pub fn documents(&self, answer: &Answer) -> bool {
        match answer.code {
            Some(code) => self.codes.contains(&code),
            None => self.statuses.contains(&answer.status),
        }
    }
}

impl RateClass {
    /// The window's length in words: `minute`, `hour`, `day`, or its seconds.
    pub fn window_name(&self) -> String {
        match self.window_seconds {
            60 => "minute".to_owned(),
            3_600 => "hour".to_owned(),
            86_400 => "day".to_owned(),
            seconds => format!("{seconds}s"),
        }
    }
}
