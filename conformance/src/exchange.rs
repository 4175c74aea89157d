//! What goes over the wire and what comes back.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

/// A request as it is sent, byte for byte.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query as they stand on the request line, below the base URL; starts with `/`.
    pub path: String,
    /// In the order in which they are sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, empty if there is none.
    pub body: Bytes,
    /// The address to send from, where the profile has several.
    pub from: Option<IpAddr>,
}

/// A response as it came.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most [`MAX_BODY_BYTES`].
    pub body: Bytes,
    /// From the first byte sent to the last byte read.
    pub elapsed: Duration,
    /// When the answer was complete, in milliseconds since 1970 on the target's clock.
    pub at_ms: i64,
}

/// A larger response body is not read to its end: no contract here needs one, and memory must stay flat.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Stands among the headers of an answer that was left before its end. Targets take it away from what comes.
pub const CUT: HeaderName = HeaderName::from_static("trueline-left-before-its-end");

/// A stream is left after this time, or after this many bytes: events that say the same again prove nothing more.
pub const STREAM_TIME: Duration = Duration::from_secs(5);

/// See [`STREAM_TIME`].
pub const STREAM_BYTES: usize = 256 * 1024;

/// Why there is no response.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens, the name does not resolve, or TLS failed.
    #[error("connection failed: {0}")]
    Unreachable(String),
    /// The connection ended before the response did.
    #[error("connection ended in the middle of the answer: {0}")]
    Cut(String),
    /// No complete answer within the time allowed.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// More than [`MAX_BODY_BYTES`].
    #[error("the answer's body is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// What came is not HTTP.
    #[error("the answer is not HTTP: {0}")]
    Protocol(String),
}

/// One request and what became of it.
#[derive(Debug)]
pub struct Exchange {
    /// What was sent.
    pub request: Request,
    /// What came.
    pub outcome: Result<Response, Failure>,
    json: OnceLock<Option<Value>>,
}

impl Exchange {
    /// Puts a request and its outcome together.
    pub fn new(request: Request, outcome: Result<Response, Failure>) -> Self {
        Exchange { request, outcome, json: OnceLock::new() }
    }

    /// The response, if there is one.
    pub fn response(&self) -> Option<&Response> {
        self.outcome.as_ref().ok()
    }

    /// The status, if there is a response.
    pub fn status(&self) -> Option<u16> {
        self.response().map(|response| response.status)
    }

    /// The response body as JSON, whatever its media type says; parsed once.
    pub fn json(&self) -> Option<&Value> {
        self.json
            .get_or_init(|| {
                let body = &self.response()?.body;
                if body.is_empty() { None } else { serde_json::from_slice(body).ok() }
            })
            .as_ref()
    }
}

impl Response {
    /// The media type without parameters, lower case.
    pub fn media_type(&self) -> Option<String> {
        let value = self.headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
        Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }

    /// Whether the body was left before its end: a stream that went on for longer than anybody reads.
    pub fn is_cut(&self) -> bool {
        self.headers.contains_key(CUT)
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
