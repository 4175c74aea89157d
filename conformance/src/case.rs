//! Cases: what is sent, as whom, and what is expected. A case is a pure function of contract, profile and seed; what only
//! the run can know (ids of created resources, tokens) stands in it as a [`Binding`].

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trueline_spec::contract::{Link, Parameter};

/// One request, or a sequence of them, with an expectation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    /// Stable and readable: `boundary/createAgent/body/name/maxLength/over`.
    pub id: String,
    /// The phase it belongs to.
    pub phase: Phase,
    /// The check that asked for it.
    pub check: CheckId,
    /// What is done.
    pub script: Script,
}

/// The id of a check: `response.schema`.
pub type CheckId = std::borrow::Cow<'static, str>;

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The document's own examples, bound to real resources.
    Examples,
    /// Each constraint at, just inside and just outside its bound.
    Boundary,
    /// Random values, valid and with one fault.
    Random,
    /// Sequences: make, read, list, change, remove, and what must be so in between.
    Stateful,
    /// Principals and credentials, good and bad; other tenants' resources.
    Access,
    /// What no client sends on purpose: wrecks of bodies, headers and connections.
    Hostile,
    /// The same thing several times at once.
    Race,
    /// Rate classes and quotas to their end and beyond.
    Limits,
}

/// All phases in the order in which they run.
pub const PHASES: [Phase; 8] = [
    Phase::Examples,
    Phase::Boundary,
    Phase::Random,
    Phase::Stateful,
    Phase::Access,
    Phase::Hostile,
    Phase::Race,
    // Last, because it uses up what every other phase needs.
    Phase::Limits,
];

/// What a case does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Script {
    /// One request.
    Single(Box<Call>),
    /// Use up a rate class and look at its edges.
    Exhaust(Box<Exhaust>),
    /// Count down what an answer states, where no rate class is documented.
    Spend(Box<Spend>),
    /// Use up a quota and look at its edges.
    Quota(Box<QuotaScript>),
    /// Take a session, let its lifetime pass, use it again. Needs a clock that can be moved.
    Expire(Box<Call>),
    /// Several requests, later ones made from the answers to earlier ones.
    Chain(Box<Chain>),
    /// Bytes on a connection that no HTTP client would send.
    Wire(Box<WireScript>),
}

/// Requests one after the other, whose later ones use what the earlier ones were answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chain {
    /// Index of the operation that it is about.
    pub about: usize,
    /// In the order in which they are sent.
    pub acts: Vec<Act>,
    /// Nothing else may be sent meanwhile: what is looked at (a list, a counter) belongs to everybody.
    #[serde(default)]
    pub alone: bool,
}

/// One request of a chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Act {
    /// What bindings and checks know it by; several acts of one chain may share a name.
    pub name: String,
    /// The request.
    pub call: Call,
    /// It is left out, and the chain goes on, where something that it is made from is not there.
    #[serde(default)]
    pub optional: bool,
    /// How often it is sent at once; 1 if it is not a race.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

impl Act {
    /// A request that has to be sent, once.
    pub fn new(name: impl Into<String>, call: Call) -> Self {
        Act { name: name.into(), call, optional: false, times: 1 }
    }

    /// A request that is only sent if what it is made from is there.
    pub fn optional(name: impl Into<String>, call: Call) -> Self {
        Act { optional: true, ..Act::new(name, call) }
    }
}

/// Bytes on a connection, and how the connection is treated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireScript {
    /// The request that they are made from.
    pub call: Call,
    /// What is wrong with them.
    pub how: Wreck,
}

/// What is wrong with a message on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wreck {
    /// The connection ends in the middle of the header.
    CutHeader,
    /// The connection ends in the middle of the announced body.
    CutBody,
    /// The body comes byte by byte, and stops coming.
    SlowBody,
    /// No line of the message is HTTP.
    NotHttp,
    /// The request line is longer than anybody reads.
    LongLine,
    /// More header fields than anybody reads.
    ManyHeaders,
    /// `Content-Length` twice, with different figures (RFC 9112 section 6.3).
    TwoLengths,
    /// `Transfer-Encoding` and `Content-Length` together, with a second request hidden in the body (RFC 9112 section 6.1).
    LengthAndChunks,
    /// A NUL in a header's value (RFC 9110 section 5.5).
    NulInHeader,
    /// No `Host` (RFC 9112 section 3.2).
    NoHost,
    /// A chunk whose size is no number.
    BadChunk,
}

/// One request before it is bound.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// Index in [`trueline_spec::Contract::operations`].
    pub operation: usize,
    /// Who asks.
    pub caller: Caller,
    /// The address to send from.
    #[serde(default)]
    pub from: Option<IpAddr>,
    /// Parameters, path parameters included.
    #[serde(default)]
    pub arguments: Vec<Argument>,
    /// The body.
    #[serde(default)]
    pub body: Option<CallBody>,
    /// Something about the request line or headers that no schema speaks of.
    #[serde(default)]
    pub twist: Option<Twist>,
    /// What must happen.
    pub expect: Expect,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caller {
    /// Nobody: no credential at all.
    Anonymous,
    /// A principal of the profile, by name.
    Principal(String),
    /// A principal in a session that only this case uses.
    FreshSession(String),
    /// A credential with exactly these scopes, made through the API by a principal.
    Minted {
        /// The principal that makes it.
        by: String,
        /// The scopes, sorted.
        scopes: Vec<String>,
    },
    /// A credential that must be refused, where `scheme` puts it.
    Bad {
        /// The security scheme.
        scheme: String,
        /// The credential or header value.
        credential: BadCredentialSource,
    },
}

/// Where a bad credential comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadCredentialSource {
    /// As it stands, without the scheme's prefix.
    Literal(String),
    /// The whole header (or parameter) value, the prefix included; Latin-1 bytes are possible.
    Verbatim(String),
    /// A principal's good credential, changed.
    Altered {
        /// The principal.
        principal: String,
        /// How.
        how: Alteration,
    },
    /// None of this scheme, where others are needed beside it.
    Absent,
    /// A credential that a principal made through the API and took back again.
    Revoked {
        /// The principal.
        by: String,
    },
    /// A value from a principal's login answer that is no access credential, such as its refresh token.
    FromLogin {
        /// The principal.
        principal: String,
        /// JSON Pointer in the login answer.
        pointer: String,
    },
}

/// How a good credential is made bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alteration {
    /// The last four characters are missing.
    Truncated,
    /// Four characters more.
    Extended,
    /// One character in the middle of the last dot-separated part (of a JWT: the signature) is another.
    Corrupted,
    /// A JWT with the header `{"alg":"none"}` and no signature.
    Unsigned,
}

/// A parameter's value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Argument {
    /// Index in the operation's parameters.
    pub parameter: usize,
    /// The value.
    pub value: ArgumentValue,
}

/// A value or the promise of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArgumentValue {
    /// As planned.
    Value(Value),
    /// Known only in the run.
    Bound(Binding),
}

/// A request body before it is bound.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallBody {
    /// A value in one of the operation's media types.
    Value {
        /// Index in the body's media types.
        media: usize,
        /// The value.
        value: Value,
        /// What the run puts in, by JSON Pointer into `value`.
        #[serde(default)]
        bindings: Vec<(String, Binding)>,
    },
    /// Bytes that no media type describes.
    Raw {
        /// The `Content-Type`, if any.
        content_type: Option<String>,
        /// The bytes; text where they are text.
        bytes: RawBytes,
    },
}

/// Bytes of a raw body.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RawBytes {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
    /// One byte over and over, for bodies that would not fit a report.
    Repeat {
        /// The byte.
        byte: u8,
        /// How often.
        count: u64,
    },
}

impl RawBytes {
    /// The bytes themselves.
    pub fn to_bytes(&self) -> bytes::Bytes {
        match self {
            RawBytes::Text(text) => text.clone().into(),
            RawBytes::Bytes(bytes) => bytes.clone().into(),
            RawBytes::Repeat { byte, count } => vec![*byte; usize::try_from(*count).unwrap_or(usize::MAX)].into(),
        }
    }
}

/// A value that the run supplies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// A value of the profile's principal.
    Profile {
        /// The principal.
        principal: String,
        /// Key in its `values`.
        name: String,
    },
    /// A value out of the exchange that makes a resource.
    Resource {
        /// What makes it.
        producer: Producer,
        /// Whose it is: a group of principals.
        group: String,
        /// Which one, among those made for the same purpose.
        instance: Instance,
    },
    /// A value out of an earlier exchange of the same chain.
    Act {
        /// The act; the last one of this name.
        name: String,
        /// A runtime expression on its exchange: `$response.header.ETag`.
        expression: String,
    },
    /// A value, if a list in an earlier answer of the same chain is long enough that there may be more.
    IfFull {
        /// The act.
        name: String,
        /// JSON Pointer to the list.
        pointer: String,
        /// So many items at least.
        at_least: u64,
        /// The value.
        value: Value,
    },
    /// A text that nothing else in this run, or in an earlier one, has.
    Unique {
        /// What it starts with.
        stem: String,
        /// At most so many characters, if there is a limit.
        longest: Option<u32>,
    },
    /// A value out of the login answer of the calling session (or of this principal's, if the caller is anonymous).
    Login {
        /// The principal.
        principal: String,
        /// JSON Pointer in the login answer.
        pointer: String,
    },
}

impl Binding {
    /// Whether it comes out of an exchange of this operation.
    pub fn is_produced_by(&self, operation: usize) -> bool {
        matches!(self, Binding::Resource { producer, .. } if producer.operation == operation)
    }
}

/// Which resource a binding means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instance {
    /// One that is only read; the number tells several apart.
    Shared(u32),
    /// One that is written to.
    Mutable(u32),
    /// One that only this case uses.
    Own,
}

/// An operation whose answer names a resource, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Producer {
    /// Index of the operation.
    pub operation: usize,
    /// A runtime expression on its exchange: `$response.body#/id`.
    pub expression: String,
}

/// Something about a request that no schema speaks of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Twist {
    /// Another method.
    Method(String),
    /// Another path, query included.
    Path(String),
    /// Another `Content-Type` for the same body.
    ContentType(String),
    /// A header more.
    Header(String, String),
    /// A header more, with a value that only the run can know.
    BoundHeader(String, Binding),
    /// The path of a URL that an earlier answer named (RFC 3986 section 5: relative ones too).
    Follow(Binding),
}

/// What must happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Any answer below 500: whether the request is valid is a matter of taste.
    Survives,
    /// The request is valid: it must not be refused as invalid. With `bound`, all it names exists.
    Valid {
        /// Everything that the request names exists and is the caller's.
        bound: bool,
    },
    /// The request has exactly one fault and must be refused.
    Invalid(FaultNote),
    /// One of these statuses, and one of these codes where the dialect has codes.
    Refused {
        /// Statuses, at least one.
        statuses: Vec<u16>,
        /// Codes; empty: any.
        codes: Vec<String>,
    },
    /// What the contract says of paths that it does not have.
    UnknownPath,
    /// What the contract says of methods that it does not have.
    UnknownMethod,
}

/// The one fault of an invalid request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultNote {
    /// `body`, or `query organization`.
    pub part: Part,
    /// JSON Pointer of the offending place in the part's value.
    pub instance: String,
    /// JSON Pointer of the violated keyword in the part's standalone schema; empty for faults outside any schema.
    pub schema: String,
    /// The keyword, or a word such as `media-type`, `malformed`, `too-large`.
    pub keyword: String,
}

/// The part of a request that a fault is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The body.
    Body,
    /// A parameter, by its index in the operation.
    Parameter(usize),
}

/// Uses up a rate class.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exhaust {
    /// The class.
    pub class: String,
    /// Requests that the class allows in a window on this deployment.
    pub limit: u64,
    /// The window in milliseconds.
    pub window_ms: u64,
    /// The request that is repeated.
    pub probe: Call,
    /// The counter was untouched before: exactly `limit` requests must pass.
    pub untouched: bool,
    /// Requests of the same class under another counter; none of them may be limited.
    pub isolated: Vec<Call>,
    /// Requests of other operations under the exhausted counter; all of them must be limited.
    pub also_limited: Vec<Call>,
    /// Whether to look at the window's end: needs a clock that can be moved, or patience.
    pub recovery: bool,
}

/// Asks the same again and again and looks at what the documented headers state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spend {
    /// The request that is repeated.
    pub probe: Call,
    /// Whether to go on until nothing is left, if that is near and its end can be waited for; a few requests otherwise.
    pub to_the_end: bool,
    /// How many seconds the end may be away, on a clock that cannot be moved.
    pub patience_s: u64,
    /// Whether nobody else is thought to use the counter.
    pub alone: bool,
}

/// Uses up a quota.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QuotaScript {
    /// The quota.
    pub quota: String,
    /// What is left of it, from the profile.
    pub limit: u64,
    /// The request that is repeated.
    pub probe: Call,
    /// Requests of the other operations that count against it, which must be refused too.
    #[serde(default)]
    pub also_refused: Vec<Call>,
    /// Whether to look at the window's end (needs a clock that can be moved).
    pub recovery: bool,
}

impl Spend {
    /// So many requests show whether a count goes down.
    pub const FEW: u64 = 5;
    /// More than this is not used up where nobody has documented it: it would be an attack, not a test.
    pub const MOST: u64 = 200;
}

impl Case {
    /// The operation that the case is about.
    pub fn operation(&self) -> usize {
        match &self.script {
            Script::Single(call) | Script::Expire(call) => call.operation,
            Script::Exhaust(exhaust) => exhaust.probe.operation,
            Script::Spend(spend) => spend.probe.operation,
            Script::Quota(quota) => quota.probe.operation,
            Script::Chain(chain) => chain.about,
            Script::Wire(wire) => wire.call.operation,
        }
    }

    /// Every call that it is planned to send, each once.
    pub fn calls(&self) -> Vec<&Call> {
        match &self.script {
            Script::Single(call) | Script::Expire(call) => vec![call],
            Script::Exhaust(exhaust) => {
                let others = exhaust.isolated.iter().chain(&exhaust.also_limited);
                std::iter::once(&exhaust.probe).chain(others).collect()
            }
            Script::Spend(spend) => vec![&spend.probe],
            Script::Quota(quota) => vec![&quota.probe],
            Script::Chain(chain) => chain.acts.iter().map(|act| &act.call).collect(),
            Script::Wire(wire) => vec![&wire.call],
        }
    }

    /// Whether nothing else may be sent while it runs.
    pub fn is_alone(&self) -> bool {
        self.phase == Phase::Limits || matches!(&self.script, Script::Chain(chain) if chain.alone)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Examples => "examples",
            Phase::Boundary => "boundary",
            Phase::Random => "random",
            Phase::Stateful => "stateful",
            Phase::Access => "access",
            Phase::Hostile => "hostile",
            Phase::Race => "race",
            Phase::Limits => "limits",
        })
    }
}

impl std::str::FromStr for Phase {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<String> = PHASES.iter().map(Phase::to_string).collect();
        PHASES.into_iter().find(|phase| phase.to_string() == text).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let hint = crate::profile::nearest(text, &names).map(|hint| format!("; did you mean `{hint}`?"));
            format!("`{text}` is not one of {}{}", names.join(", "), hint.unwrap_or_default())
        })
    }
}

/// Whether a link of the document fills this parameter.
pub(crate) fn link_fills<'a>(link: &'a Link, parameter: &Parameter) -> Option<&'a Value> {
    link.parameters
        .iter()
        .find(|filled| filled.name == parameter.name && filled.place.is_none_or(|place| place == parameter.place))
        .map(|filled| &filled.value)
}
