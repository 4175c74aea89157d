//! The client's half: what generated clients lean on.
//!
//! A generated method makes one attempt; [`Transport::run`] decides whether there is another, by the contract's own
//! policy. Every answer, documented or not, arrives here whole ([`Received`]): status, headers and body are never lost.

mod request;
mod retry;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use progenitor_client::{ByteStream, ResponseValue};
use serde::de::DeserializeOwned;

use crate::contract::{Contract, ResetUnit, RetryAdvice};
use crate::envelope::{Envelope, Parsed};
use crate::problem::Failures;
use crate::sse;

pub use request::{Credentials, Direct};
pub use retry::{Policy, Transport};

/// An answer as it came.
#[derive(Debug)]
pub struct Received {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    body: Content,
}

enum Content {
    Whole(Bytes),
    Streaming(std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Whole(bytes) => write!(f, "{} bytes", bytes.len()),
            Content::Streaming(_) => f.write_str("a stream"),
        }
    }
}

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The request cannot be made from these values.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// The other end cannot be reached, or the exchange broke off.
    #[error("no answer")]
    Exchange(#[source] reqwest::Error),
    /// A file to be sent cannot be read.
    #[error("a file cannot be read")]
    File(#[source] std::io::Error),
}

impl TransportError {
    /// Whether nothing has reached the other end, so that another try cannot do anything twice.
    pub fn is_unsent(&self) -> bool {
        matches!(self, TransportError::Exchange(error) if error.is_connect())
    }
}

/// An answer that the contract does not know, whole.
#[derive(Debug, Clone)]
pub struct Unexpected {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an answer that the contract does not know: {}: {}", self.status, self.reason)
    }
}

impl std::error::Error for Unexpected {}

/// A good answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// What it says.
    pub value: T,
    /// The status.
    pub status: u16,
    /// Where the caller stands, as far as the headers say.
    pub rate_limit: RateLimit,
    /// The request's id, for support.
    pub request_id: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
}

impl<T> std::ops::Deref for Answer<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A documented failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed<E> {
    /// What it says.
    pub error: E,
    /// The status.
    pub status: u16,
    /// How long the answer asks to wait.
    pub retry_after: Option<Duration>,
    /// Where the caller stands, as far as the headers say.
    pub rate_limit: RateLimit,
    /// The request's id, for support.
    pub request_id: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
}

impl<E: Failures> Failed<E> {
    /// What the contract advises to do about it, for callers with loops of their own.
    pub fn advice(&self) -> RetryAdvice {
        self.error.answer().retry
    }
}

/// Where a caller stands in its rate class, as far as an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimit {
    /// Requests allowed in the window.
    pub limit: Option<u64>,
    /// Requests left in the window.
    pub remaining: Option<u64>,
    /// The end of the window.
    pub reset: Option<Reset>,
}

/// The end of a window, in the unit of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Seconds since 1970-01-01T00:00:00Z.
    Unix(u64),
    /// Seconds from when the answer was made.
    In(u64),
}

impl RateLimit {
    /// Reads the contract's headers.
    pub fn read(headers: &HeaderMap, contract: &Contract) -> Self {
        let Some(limits) = contract.rate_limits else { return RateLimit::default() };
        let number = |name: Option<&str>| headers.get(name?)?.to_str().ok()?.trim().parse::<u64>().ok();
        RateLimit {
            limit: number(limits.limit_header),
            remaining: number(limits.remaining_header),
            reset: number(limits.reset_header).map(match limits.reset {
                ResetUnit::UnixSeconds => Reset::Unix,
                ResetUnit::DeltaSeconds => Reset::In,
            }),
        }
    }
}

impl Received {
    /// An answer from its parts, for tests and other transports.
    pub fn new(status: u16, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        Received { status, headers, body: Content::Whole(body.into()) }
    }

    /// What progenitor's client brings. Its operations are lowered to answers of any status and any bytes: it would drop
    /// status and headers of a body that it cannot read, and this layer reads by status anyway.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub fn from_progenitor(
        result: Result<ResponseValue<ByteStream>, progenitor_client::Error<ByteStream>>,
    ) -> Result<Self, TransportError> {
        use progenitor_client::Error;
        match result {
            Ok(value) | Err(Error::ErrorResponse(value)) => {
                let (status, headers) = (value.status().as_u16(), value.headers().clone());
                let stream = value.into_inner_stream();
                Ok(Received { status, headers, body: Content::Streaming(Box::pin(stream)) })
            }
            Err(Error::UnexpectedResponse(response)) => Ok(Received::from(response)),
            Err(Error::InvalidRequest(reason) | Error::Custom(reason)) => Err(TransportError::Request(reason)),
            Err(Error::CommunicationError(error)) if error.is_builder() => Err(TransportError::Request(chain(&error))),
            Err(Error::CommunicationError(error) | Error::InvalidUpgrade(error) | Error::ResponseBodyError(error)) => {
                Err(TransportError::Exchange(error))
            }
            Err(Error::InvalidResponsePayload(_, error)) => Err(TransportError::Request(error.to_string())),
        }
    }

    /// The same with its body read to the end.
    ///
    /// # Errors
    ///
    /// If it breaks off.
    pub async fn whole(mut self) -> Result<Self, TransportError> {
        if let Content::Streaming(mut stream) = self.body {
            let mut whole = bytes::BytesMut::new();
            while let Some(piece) = stream.next().await {
                whole.extend_from_slice(&piece.map_err(TransportError::Exchange)?);
            }
            self.body = Content::Whole(whole.freeze());
        }
        Ok(self)
    }

    /// The body, if it has been read.
    pub fn bytes(&self) -> Bytes {
        match &self.body {
            Content::Whole(bytes) => bytes.clone(),
            Content::Streaming(_) => Bytes::new(),
        }
    }

    /// What a failing answer says in the dialect; nothing if it is not dressed.
    pub fn parsed(&self, envelope: &Envelope) -> Option<Parsed> {
        serde_json::from_slice(&self.bytes()).ok().map(|body| envelope.parse(&body))
    }

    /// The wait that an answer asks for: `Retry-After`, or the contract's own place in the body.
    pub fn retry_after(&self, contract: &Contract) -> Option<Duration> {
        let header = self.headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let stated = header.and_then(|text| match text.trim().parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => {
                let date = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
                (date.to_utc() - chrono::Utc::now()).to_std().ok().or(Some(Duration::ZERO))
            }
        });
        stated.or_else(|| {
            let pointer = contract.rate_limits?.body_wait?;
            let body: serde_json::Value = serde_json::from_slice(&self.bytes()).ok()?;
            Duration::try_from_secs_f64(body.pointer(pointer)?.as_f64()?).ok()
        })
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// If it is not what the contract says.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.bytes()).map_err(|error| format!("the body is not what is documented: {error}"))
    }

    /// The body as text.
    ///
    /// # Errors
    ///
    /// If it is not UTF-8.
    pub fn text(&self) -> Result<String, String> {
        String::from_utf8(self.bytes().into()).map_err(|_| "the body is not UTF-8".to_owned())
    }

    /// A documented header.
    ///
    /// # Errors
    ///
    /// If it is absent or not of its type.
    pub fn header<T: std::str::FromStr>(&self, name: &str) -> Result<T, String> {
        self.optional_header(name)?.ok_or_else(|| format!("the header {name} is absent"))
    }

    /// A documented header that may be absent.
    ///
    /// # Errors
    ///
    /// If it is not of its type.
    pub fn optional_header<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        let text = std::str::from_utf8(value.as_bytes()).ok();
        text.and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| format!("the header {name} cannot be read"))
    }

    /// The body as events, as they come. An event whose data is not what is documented ends the stream.
    pub fn events<T: DeserializeOwned + Send + 'static>(&mut self) -> sse::Events<T> {
        let stream = match std::mem::replace(&mut self.body, Content::Whole(Bytes::new())) {
            Content::Streaming(stream) => stream,
            Content::Whole(bytes) => futures::stream::iter([Ok(bytes)]).boxed(),
        };
        let decoded = stream.scan(sse::Decoder::default(), |decoder, piece| {
            let events = piece.map(|piece| decoder.push(&piece)).unwrap_or_default();
            futures::future::ready(Some(futures::stream::iter(events)))
        });
        let typed = decoded.flatten().map(|event| {
            let data = serde_json::from_str(&event.data).ok()?;
            Some(sse::Event { event: event.event, id: event.id, retry: event.retry, data })
        });
        sse::Events(Box::pin(
            typed.take_while(|event| futures::future::ready(event.is_some())).filter_map(futures::future::ready),
        ))
    }

    /// A good answer with this value.
    pub fn answer<T>(&self, value: T, contract: &Contract) -> Answer<T> {
        Answer {
            value,
            status: self.status,
            rate_limit: RateLimit::read(&self.headers, contract),
            request_id: self.request_id(contract),
            headers: self.headers.clone(),
        }
    }

    /// A documented failure.
    ///
    /// # Errors
    ///
    /// If it is none that the operation documents.
    pub fn failed<E: Failures>(&self, contract: &Contract) -> Result<Box<Failed<E>>, Box<Unexpected>> {
        let Some(parsed) = self.parsed(contract.unmatched.internal.envelope) else {
            return Err(Box::new(self.unexpected("the body is not JSON".to_owned())));
        };
        match E::read(self.status, &parsed) {
            Some(error) => Ok(Box::new(Failed {
                error,
                status: self.status,
                retry_after: self.retry_after(contract),
                rate_limit: RateLimit::read(&self.headers, contract),
                request_id: self.request_id(contract),
                headers: self.headers.clone(),
            })),
            None => Err(Box::new(self.unexpected(match parsed.code {
                Some(code) => format!("the operation does not document {} with the code {code}", self.status),
                None => format!("the operation does not document {}", self.status),
            }))),
        }
    }

    /// An answer that the contract does not know.
    pub fn unexpected(&self, reason: String) -> Unexpected {
        Unexpected { status: self.status, headers: self.headers.clone(), body: self.bytes(), reason }
    }

    fn request_id(&self, contract: &Contract) -> Option<String> {
        self.headers.get(contract.request_id_header)?.to_str().ok().map(str::to_owned)
    }
}

impl From<reqwest::Response> for Received {
    fn from(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Received { status, headers, body: Content::Streaming(Box::pin(response.bytes_stream())) }
    }
}

/// An error with everything behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
