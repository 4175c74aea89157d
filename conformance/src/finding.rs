//! Findings: causes, not cases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::check::Level;

/// A check that failed, for one cause, with its smallest case.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable across runs with the same cause: `F` and ten hex digits.
    pub id: String,
    /// The check.
    pub check: String,
    /// How binding the promise is.
    pub level: Level,
    /// The broken clause.
    pub clause: String,
    /// What is wrong, in a few words.
    pub title: String,
    /// Where the clause stands: `file:line:col`, its line, the JSON Pointer.
    pub place: Place,
    /// What was promised.
    pub expected: String,
    /// What came.
    pub actual: String,
    /// A way out, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Ids of the operations that fell for this cause.
    pub operations: Vec<String>,
    /// Cases that fell for this cause.
    pub cases: u64,
    /// The smallest.
    pub evidence: Evidence,
}

/// A place in the document, with its line.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// JSON Pointer in the file.
    pub pointer: String,
    /// The text of the line.
    pub text: String,
}

/// What was sent and what came.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The case as `trueline replay` runs it again. What is in it belongs to the version of trueline that wrote it, except
    /// for `id`, `phase` and `check`. Credentials stand as `$NAME`.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub case: Case,
    /// Every exchange that matters, in order; of a long sequence only its ends.
    pub exchanges: Vec<RecordedExchange>,
    /// Exchanges left out between them.
    pub left_out: usize,
    /// How often the first case was made smaller.
    pub shrunk: u32,
}

/// An exchange as a report shows it. Credentials are replaced.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RecordedExchange {
    /// The request.
    pub request: RecordedRequest,
    /// The response, if one came.
    pub response: Option<RecordedResponse>,
    /// Why none came.
    pub failure: Option<String>,
    /// The request as a curl command line; credentials stand as `$NAME`.
    pub curl: String,
    /// When it was sent, in milliseconds since 1970 on the target's clock; 0 where that is not known.
    #[serde(default)]
    pub sent_ms: i64,
}

/// A request as a report shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body as text, cut at 8 KiB; bytes that are no text are shown as `\xNN`.
    pub body: String,
    /// The body's whole length in bytes.
    pub body_bytes: usize,
}

/// A response as a report shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RecordedResponse {
    /// The status.
    pub status: u16,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body as text, cut at 8 KiB.
    pub body: String,
    /// The body's whole length in bytes.
    pub body_bytes: usize,
    /// The offending part: a header's name or a JSON Pointer into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offending: Option<Offending>,
    /// Microseconds.
    pub elapsed_us: u64,
}

/// The part of an answer that breaks the clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Offending {
    /// The status line.
    Status,
    /// A header, by name; it may be absent.
    Header(String),
    /// JSON Pointer into the body; empty for the whole.
    Body(String),
}
