//! The contract vocabulary: the `x-` extensions that say what OpenAPI has no word for.
//!
//! Standard OpenAPI comes first; a document without any extension is a valid contract. Unknown keys are errors,
//! because a misspelled promise must not turn into silence. `contracts/vocabulary.schema.json` is the published JSON
//! Schema, made from these types.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// `x-contract`, on the root object: the promises that hold for the whole API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ContractVocabulary {
    /// One lower-case word, spelled the same in every folder.
    pub name: String,
    /// The order in which a request is judged; the first step that fails, answers. Empty: the order is not promised.
    #[serde(default)]
    pub check_order: Vec<CheckStep>,
    /// How every failure is dressed.
    #[serde(default)]
    pub error_envelope: Option<ErrorEnvelope>,
    /// The machine codes of the dialect, by code.
    #[serde(default)]
    pub error_codes: IndexMap<String, ErrorCode>,
    /// The rate classes and how a caller learns where it stands.
    #[serde(default)]
    pub rate_limits: Option<RateLimits>,
    /// Budgets that outlive a rate window, by name.
    #[serde(default)]
    pub quotas: IndexMap<String, Quota>,
    /// What the documented SDKs call each failing status.
    #[serde(default)]
    pub client_errors: IndexMap<StatusKey, ClientError>,
    /// When the documented SDKs try again.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// The response header that carries the request id, if the contract has one.
    #[serde(default)]
    pub request_id_header: Option<String>,
    /// The largest request body in bytes that an operation must accept; see `x-max-body-bytes` on an operation.
    #[serde(default)]
    pub max_body_bytes: Option<u64>,
}

/// A step in the judgement of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStep {
    /// Rate limits.
    Limit,
    /// Who is asking (401).
    Authenticate,
    /// May they (403).
    Authorize,
    /// Is the request well formed (400 and its kin).
    Validate,
    /// Does what it names exist (404).
    Find,
}

/// `x-contract.error-envelope`: the one shape of every error answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ErrorEnvelope {
    /// `$ref` of the envelope's schema.
    pub schema: String,
    /// JSON Pointers to the machine code, the first that resolves counts; empty when the dialect has no codes.
    #[serde(default)]
    pub code: Vec<String>,
    /// JSON Pointers to the text for people.
    #[serde(default)]
    pub message: Vec<String>,
    /// JSON Pointers to the additional data.
    #[serde(default)]
    pub details: Vec<String>,
    /// JSON Pointers to the list of field errors.
    #[serde(default)]
    pub fields: Vec<String>,
    /// What a request gets that matches no operation.
    pub unmatched: Unmatched,
    /// What a request gets that fails before any operation of the service sees it.
    pub refusals: Refusals,
}

/// What an unknown path or method gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Unmatched {
    /// No operation has this path.
    pub path: Answer,
    /// The path exists, the method does not.
    pub method: Answer,
}

/// The dialect's answer to each refusal that is made from the contract alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Refusals {
    /// No credential at all.
    pub unauthenticated: Answer,
    /// A good credential of a kind that this operation does not take.
    #[serde(default)]
    pub wrong_scheme: Option<Answer>,
    /// A good credential without the scope or role.
    pub forbidden: Answer,
    /// What exists and is somebody else's, where that differs from what does not exist: a 403 tells strangers that it is
    /// there. Absent: the dialect does not say.
    #[serde(default)]
    pub foreign: Option<Answer>,
    /// Exactly one required field is absent.
    pub missing: Answer,
    /// Exactly one field is wrong.
    pub invalid: Answer,
    /// More than one thing is wrong.
    pub several: Answer,
    /// The body cannot be parsed, or is not of the type the operation reads.
    pub malformed: Answer,
    /// The body's media type is not one of the operation's.
    pub media_type: Answer,
    /// The body is larger than the operation takes.
    pub too_large: Answer,
    /// A rate class is exhausted.
    #[serde(default)]
    pub limited: Option<Answer>,
    /// The service failed.
    pub internal: Answer,
    /// The service cannot answer now.
    pub unavailable: Answer,
}

/// A code of the dialect, or a bare status where the dialect has no codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A key of `error-codes`, which has the status.
    Code(String),
    /// A status.
    Status(u16),
}

/// One code of the dialect's catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ErrorCode {
    /// The status that always goes with the code.
    pub status: u16,
    /// Which operations may answer it without listing it in `x-error-codes`.
    #[serde(default)]
    pub on: CodeReach,
    /// What a client does about it.
    pub retry: RetryAdvice,
    /// `$ref` of the schema of the envelope's details for this code.
    #[serde(default)]
    pub details: Option<String>,
    /// What it means, in our words.
    #[serde(default)]
    pub meaning: Option<String>,
    /// Where this code is known from.
    #[serde(default)]
    pub x_provenance: Option<Provenance>,
}

/// Which operations may answer a code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CodeReach {
    /// Those that list it in `x-error-codes`.
    #[default]
    Listed,
    /// Every operation.
    EveryOperation,
    /// Every operation that needs a credential.
    SecuredOperations,
}

/// What a client does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
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

/// `x-contract.rate-limits`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RateLimits {
    /// The headers that state where a caller stands.
    #[serde(default)]
    pub headers: RateLimitHeaders,
    /// The unit of the reset header.
    #[serde(default)]
    pub reset: ResetUnit,
    /// Which responses carry the headers.
    pub on: HeaderReach,
    /// The unit of `Retry-After` on a 429, or none.
    pub retry_after: RetryAfterForm,
    /// Where the body of a 429 repeats the facts.
    #[serde(default)]
    pub body: RateLimitBody,
    /// The classes, by name.
    pub classes: IndexMap<String, RateClass>,
}

/// Header names of the rate limit, each optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RateLimitHeaders {
    /// Requests allowed in the window.
    #[serde(default)]
    pub limit: Option<String>,
    /// Requests left in the window.
    #[serde(default)]
    pub remaining: Option<String>,
    /// When the window ends.
    #[serde(default)]
    pub reset: Option<String>,
}

/// The unit of the reset header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResetUnit {
    /// Seconds since 1970-01-01T00:00:00Z.
    #[default]
    UnixSeconds,
    /// Seconds from now.
    DeltaSeconds,
}

/// Which responses carry the rate-limit headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderReach {
    /// All, failures and the router's own answers included.
    EveryResponse,
    /// Only 429.
    LimitedOnly,
    /// None.
    None,
}

/// The form of `Retry-After` on a 429 (RFC 9110 section 10.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfterForm {
    /// Seconds.
    DeltaSeconds,
    /// A date.
    HttpDate,
    /// The header is not part of the contract.
    None,
}

/// JSON Pointers into the body of a 429.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RateLimitBody {
    /// Seconds to wait.
    #[serde(default)]
    pub wait: Option<String>,
    /// Requests allowed in the window.
    #[serde(default)]
    pub limit: Option<String>,
}

/// One rate class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RateClass {
    /// Requests allowed in a window.
    pub limit: u64,
    /// The window's length, such as `1h` or `1m`.
    pub window: Window,
    /// What one counter belongs to.
    pub per: Per,
    /// The security scheme (or a list of them) that puts a request in this class; `none` for requests without a good
    /// credential; absent: every request of the operations that name the class.
    #[serde(default)]
    pub when: When,
    /// Where this class is known from.
    #[serde(default)]
    pub x_provenance: Option<Provenance>,
}

/// Which requests a rate class counts: those with a good credential of one of these schemes, `none` standing for those
/// without any. Empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct When(pub Vec<String>);

/// A span of time, written `90s`, `1m` or `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window(pub Duration);

/// What a counter belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Per {
    /// The person behind the credential.
    User,
    /// The credential itself.
    Credential,
    /// The caller's address.
    Ip,
    /// The tenant.
    Organization,
    /// A path parameter's value, whoever asks.
    Path(String),
}

/// A budget over a long window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Quota {
    /// The code that an exhausted quota answers.
    pub code: String,
    /// What one counter belongs to.
    pub per: Per,
    /// When it starts again.
    pub window: QuotaWindow,
    /// What is counted.
    #[serde(default)]
    pub unit: QuotaUnit,
    /// How much, when the contract states it; deployments differ, so a profile may say.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Where this quota is known from.
    #[serde(default)]
    pub x_provenance: Option<Provenance>,
}

/// When a quota starts again, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaWindow {
    /// At midnight.
    Day,
    /// On the first of the month.
    Month,
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaUnit {
    /// Calls of the operations that name the quota.
    #[default]
    Calls,
    /// Time that goes by in what those operations started; how many of them may be called does not follow.
    Seconds,
}

/// A key of `client-errors`: a status or `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatusKey {
    /// This status.
    Status(u16),
    /// Every failing status without its own entry.
    Other,
}

/// What an SDK calls a failing status.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClientError {
    /// The error's name without a suffix: `RateLimit`.
    pub name: String,
    /// A value that it carries: `retry_after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carries: Option<String>,
}

/// When the documented SDKs try again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retry {
    /// The statuses worth another try.
    pub statuses: Vec<u16>,
    /// Tries after the first.
    pub max: u32,
    /// How the pause grows.
    pub backoff: Backoff,
    /// The first pause in milliseconds.
    #[serde(default = "one_second")]
    pub base_ms: u64,
    /// Wait at least as long as the answer says.
    #[serde(default)]
    pub honour_retry_after: bool,
    /// The wait in seconds after a 429 that does not state one.
    #[serde(default)]
    pub default_wait_s: Option<u64>,
    /// Codes that are not worth a try although their status is.
    #[serde(default)]
    pub except_codes: Vec<String>,
}

fn one_second() -> u64 {
    1000
}

/// How the pause between tries grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// Doubles: base, 2 base, 4 base.
    Exponential,
    /// A random part of the doubled pause.
    ExponentialJitter,
}

/// `x-credential`, on a security scheme: what a credential looks like and how its failures are named, so that a
/// harness can make bad ones of the right shape.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Credential {
    /// How it is made.
    #[serde(default)]
    pub format: CredentialFormat,
    /// A regular expression that every good one matches.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Not of the right shape.
    #[serde(default)]
    pub malformed: Option<Answer>,
    /// The right shape, but nobody's.
    #[serde(default)]
    pub unknown: Option<Answer>,
    /// Past its lifetime.
    #[serde(default)]
    pub expired: Option<Answer>,
    /// Taken back.
    #[serde(default)]
    pub revoked: Option<Answer>,
    /// How long it is good for.
    #[serde(default)]
    pub lifetime: Option<Window>,
    /// When it is found out whether it is good.
    #[serde(default)]
    pub judged: Judged,
}

/// When it is found out whether a credential is good. That it is there at all is always the `authenticate` step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Judged {
    /// In the `authenticate` step.
    #[default]
    AtOnce,
    /// When it is used, after the whole request was judged: it belongs to a third party, who alone knows it.
    OnUse,
}

/// How a credential is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialFormat {
    /// A string that only the service can read.
    #[default]
    Opaque,
    /// A JSON Web Token (RFC 7519).
    Jwt,
}

/// `x-provenance`: where a fact is known from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Provenance {
    /// How well it is known.
    pub status: ProvenanceStatus,
    /// The seed file or documentation page; for `inferred`, what it was inferred from.
    pub source: String,
    /// What exactly is not documented, or what contradicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How well a fact is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProvenanceStatus {
    /// The public documentation states it.
    Documented,
    /// The documentation tells of it in prose or by example, without a definition.
    Described,
    /// We proposed it.
    Inferred,
}

/// `x-visibility`, on an operation: who else may see the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// Only who made it.
    Owner,
    /// Everybody in the same organization.
    Organization,
    /// Everybody.
    Public,
}

/// `x-effect`, on an operation, where the method does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Makes or changes something.
    Write,
    /// Spends money or a quota.
    Costly,
    /// Takes something away, a session included.
    Destroy,
}

/// `x-secret`, on a schema property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Secret {
    /// In the answer that creates it, and never again.
    ShownOnce,
    /// In no answer.
    Never,
}

/// The extensions of a schema that are texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaVocabulary {
    /// The code of a request that is right but for the absence of a required value of this schema, where it is another
    /// than `refusals.missing`. Counts for parameters and for the properties of a body.
    #[serde(default, rename = "x-missing")]
    pub missing: Option<String>,
    /// On a property of a request: no two resources share the value, so that whoever makes one needs a fresh value.
    #[serde(default, rename = "x-unique")]
    pub unique: bool,
}

/// The extensions of an operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationVocabulary {
    /// Scopes that an API key or token needs, all of them.
    #[serde(default, rename = "x-required-scopes")]
    pub required_scopes: Vec<String>,
    /// Names of rate classes that count a call. Where headers state one class only, it is the last of these that applies.
    #[serde(default, rename = "x-rate-limits")]
    pub rate_limits: Vec<String>,
    /// Names of quotas that count a call.
    #[serde(default, rename = "x-quotas")]
    pub quotas: Vec<String>,
    /// Codes beyond those that every operation has.
    #[serde(default, rename = "x-error-codes")]
    pub error_codes: Vec<String>,
    /// Who else may see the resource.
    #[serde(default, rename = "x-visibility")]
    pub visibility: Option<Visibility>,
    /// What a call does, where the method does not tell.
    #[serde(default, rename = "x-effect")]
    pub effect: Option<Effect>,
    /// Rules on a request that no schema can state, one sentence each: a name that is taken, a time zone that does not
    /// exist. A request that the schemas accept may be refused as invalid for their sake.
    #[serde(default, rename = "x-beyond-schema")]
    pub beyond_schema: Vec<String>,
    /// The largest body in bytes, where it differs from the root's.
    #[serde(default, rename = "x-max-body-bytes")]
    pub max_body_bytes: Option<u64>,
    /// Where the operation is known from.
    #[serde(default, rename = "x-provenance")]
    pub provenance: Option<Provenance>,
}

/// Everything above under one roof, for the published JSON Schema.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vocabulary {
    /// On the root object.
    pub x_contract: ContractVocabulary,
    /// On an operation.
    pub operation: OperationVocabulary,
    /// On a security scheme.
    pub x_credential: Credential,
    /// On a schema property.
    pub x_secret: Option<Secret>,
    /// On a schema.
    pub schema: SchemaVocabulary,
    /// Anywhere.
    pub x_provenance: Option<Provenance>,
}

/// The JSON Schema of the vocabulary, as published beside the contracts.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Vocabulary).to_value()
}

/// The text of `contracts/vocabulary.schema.json`.
pub fn json_schema_text() -> String {
    // The alternate form of a JSON value is its indented text.
    format!("{:#}\n", json_schema())
}

impl ErrorEnvelope {
    /// Every answer that the envelope names: section (`unmatched`, `refusals`), key, answer.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, &'static str, &Answer)> {
        let Refusals {
            unauthenticated,
            wrong_scheme,
            forbidden,
            foreign,
            missing,
            invalid,
            several,
            malformed,
            media_type,
            too_large,
            limited,
            internal,
            unavailable,
        } = &self.refusals;
        let unmatched = [("path", &self.unmatched.path), ("method", &self.unmatched.method)];
        let refusals = [
            ("unauthenticated", Some(unauthenticated)),
            ("wrong-scheme", wrong_scheme.as_ref()),
            ("forbidden", Some(forbidden)),
            ("foreign", foreign.as_ref()),
            ("missing", Some(missing)),
            ("invalid", Some(invalid)),
            ("several", Some(several)),
            ("malformed", Some(malformed)),
            ("media-type", Some(media_type)),
            ("too-large", Some(too_large)),
            ("limited", limited.as_ref()),
            ("internal", Some(internal)),
            ("unavailable", Some(unavailable)),
        ];
        let unmatched = unmatched.into_iter().map(|(key, answer)| ("unmatched", key, answer));
        unmatched.chain(refusals.into_iter().filter_map(|(key, answer)| Some(("refusals", key, answer?))))
    }
}

impl Answer {
    /// The status that this answer has, looked up in `codes` if it is a code.
    pub fn status(&self, codes: &IndexMap<String, ErrorCode>) -> Option<u16> {
        match self {
            Answer::Code(code) => codes.get(code).map(|code| code.status),
            Answer::Status(status) => Some(*status),
        }
    }

    /// The code, if it is one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Answer::Code(code) => Some(code),
            Answer::Status(_) => None,
        }
    }
}

impl When {
    /// Whether a request counts whose good credential is of this scheme; of none if it has no good one.
    pub fn counts(&self, scheme: Option<&str>) -> bool {
        self.0.is_empty() || self.0.iter().any(|one| one == scheme.unwrap_or("none"))
    }

    /// Whether every request counts, whoever sends it.
    pub fn counts_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether requests without a good credential count, and not only because all do.
    pub fn names_nobody(&self) -> bool {
        self.0.iter().any(|one| one == "none")
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Code(code) => f.write_str(code),
            Answer::Status(status) => write!(f, "{status}"),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Answer::Code(code) => serializer.serialize_str(code),
            Answer::Status(status) => serializer.serialize_u16(*status),
        }
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnswerVisitor;
        impl Visitor<'_> for AnswerVisitor {
            type Value = Answer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error code or a status from 400 to 599")
            }
            fn visit_u64<E: de::Error>(self, status: u64) -> Result<Answer, E> {
                match u16::try_from(status) {
                    Ok(status @ 400..=599) => Ok(Answer::Status(status)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(status), &self)),
                }
            }
            fn visit_str<E: de::Error>(self, code: &str) -> Result<Answer, E> {
                Ok(Answer::Code(code.to_owned()))
            }
        }
        deserializer.deserialize_any(AnswerVisitor)
    }
}

impl JsonSchema for Answer {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Answer".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A key of error-codes, or a status where the dialect has no codes.",
            "anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 400, "maximum": 599}]
        })
    }
}

impl Serialize for When {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WhenVisitor;
        impl<'de> Visitor<'de> for WhenVisitor {
            type Value = When;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a security scheme, `none`, or a list of them")
            }
            fn visit_str<E: de::Error>(self, one: &str) -> Result<When, E> {
                Ok(When(vec![one.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<When, A::Error> {
                let mut when = When::default();
                while let Some(one) = list.next_element()? {
                    when.0.push(one);
                }
                Ok(when)
            }
        }
        deserializer.deserialize_any(WhenVisitor)
    }
}

impl JsonSchema for When {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "When".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The name of a security scheme, `none` for no good credential, or a list of them.",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
            ]
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for Per {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "user" => Ok(Per::User),
            "credential" => Ok(Per::Credential),
            "ip" => Ok(Per::Ip),
            "organization" => Ok(Per::Organization),
            _ => match text.strip_prefix("path.") {
                Some(name) if !name.is_empty() => Ok(Per::Path(name.to_owned())),
                _ => Err(format!("`{text}` is not one of user, credential, ip, organization, path.<parameter>")),
            },
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Per::User => f.write_str("user"),
            Per::Credential => f.write_str("credential"),
            Per::Ip => f.write_str("ip"),
            Per::Organization => f.write_str("organization"),
            Per::Path(name) => write!(f, "path.{name}"),
        }
    }
}

impl FromStr for Window {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(span) if !span.is_zero() => Ok(Window(span)),
            Ok(_) => Err(format!("a window of `{text}` is empty")),
            Err(error) => Err(format!("`{text}` is not a span of time such as 90s, 1m or 1h: {error}")),
        }
    }
}

impl FromStr for StatusKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("other", _) => Ok(StatusKey::Other),
            (_, Ok(status @ 100..=599)) => Ok(StatusKey::Status(status)),
            _ => Err(format!("`{text}` is neither a status nor `other`")),
        }
    }
}

impl fmt::Display for StatusKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatusKey::Status(status) => write!(f, "{status}"),
            StatusKey::Other => f.write_str("other"),
        }
    }
}

/// Serde and JSON Schema of a type that is written as a string.
macro_rules! as_string {
    ($type:ty, $name:literal, $description:literal, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"description": $description, "type": "string", "pattern": $pattern})
            }
        }
    };
}
as_string!(Window, "Window", "A span of time such as 90s, 1m or 1h.", "^[0-9]");
as_string!(Per, "Per", "What a counter belongs to.", "^(user|credential|ip|organization|path\\..+)$");
as_string!(StatusKey, "StatusKey", "A status or `other`.", "^([1-5][0-9][0-9]|other)$");

impl<'de> Deserialize<'de> for ClientError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClientErrorVisitor;
        impl<'de> Visitor<'de> for ClientErrorVisitor {
            type Value = ClientError;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or {name, carries}")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<ClientError, E> {
                Ok(ClientError { name: name.to_owned(), carries: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClientError, A::Error> {
                let (mut name, mut carries) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "name" => name = Some(map.next_value()?),
                        "carries" => carries = Some(map.next_value()?),
                        other => return Err(de::Error::unknown_field(other, &["name", "carries"])),
                    }
                }
                Ok(ClientError { name: name.ok_or_else(|| de::Error::missing_field("name"))?, carries })
            }
        }
        deserializer.deserialize_any(ClientErrorVisitor)
    }
}

impl JsonSchema for ClientError {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClientError".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "What an SDK calls a failing status, and the value that the error carries.",
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"name": {"type": "string"}, "carries": {"type": "string"}},
                 "required": ["name"], "additionalProperties": false}
            ]
        })
    }
}
