//! One request that has been let in: decoding and validating what it says.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use http::request::Parts;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::contract::{Answer, Body as BodyDescription, BodyForm, Operation, Parameter, Place};
use crate::decode::{self, Pairs, Unreadable};
use crate::gate::{Call, Identity};
use crate::multipart::{self, Form};
use crate::reject::{Rejection, RejectionKind, Violation, escape};
use crate::schemas::Schemas;

/// Bytes that are read on of a body that is refused unread. Twice the usual largest body: whoever sends more by far is not
/// waited for.
const DRAINED: usize = 2 * 1024 * 1024;

/// A request that has been let in.
#[derive(Debug)]
pub struct Exchange<P> {
    pub(crate) identity: Option<Identity<P>>,
    /// What it says.
    pub incoming: Incoming,
}

impl<P> Exchange<P> {
    /// The caller of an operation that needs a credential.
    ///
    /// # Errors
    ///
    /// Never: the router has let nobody in without one.
    pub fn caller(&self) -> Result<&P, Rejection> {
        self.optional_caller().ok_or_else(|| Rejection::internal("a secured operation was reached without a principal"))
    }

    /// The caller of an operation that anonymous callers may use too.
    pub fn optional_caller(&self) -> Option<&P> {
        self.identity.as_ref().map(|identity| &identity.principal)
    }
}

/// What a request says.
#[derive(Debug)]
pub struct Incoming {
    pub(crate) operation: &'static Operation,
    pub(crate) parts: Parts,
    /// The path parameters in the order of the path, decoded where they are UTF-8.
    pub(crate) path: Vec<(&'static str, String)>,
    /// Those that are not UTF-8.
    pub(crate) unreadable: Vec<&'static str>,
    pub(crate) body: Body,
    pub(crate) schemas: Arc<Schemas>,
    pub(crate) peer: Option<IpAddr>,
}

impl Incoming {
    pub(crate) fn call(&self) -> Call<'_> {
        Call { operation: Some(self.operation), parts: &self.parts, path: &self.path, peer: self.peer }
    }

    /// Starts to read it.
    pub fn reader(&mut self) -> Reader<'_> {
        Reader { incoming: self, violations: Vec::new(), not_found: None }
    }
}

/// Reads the parts of a request and remembers everything that is wrong.
#[derive(Debug)]
pub struct Reader<'a> {
    incoming: &'a mut Incoming,
    violations: Vec<Violation>,
    /// A path parameter that names nothing is found out last: it is the contract's `find` step.
    not_found: Option<(&'static Answer, Violation)>,
}

impl Reader<'_> {
    /// The value of the parameter with this index; `None` if it is absent or wrong.
    pub fn parameter<T: DeserializeOwned>(&mut self, index: usize) -> Option<T> {
        let parameter = self.incoming.operation.parameters.get(index)?;
        let value = match self.raw(parameter) {
            Ok(Some(value)) => value,
            Ok(None) => {
                if parameter.required {
                    self.wrong(parameter, "", "required", "is required".into());
                }
                return None;
            }
            Err(unreadable) => {
                self.wrong(parameter, "", "type", unreadable.message().into());
                return None;
            }
        };
        let base = format!("/{}", escape(parameter.name));
        let before = self.violations.len();
        if !self.incoming.schemas.check(parameter.schema, &value, parameter.place, &base, &mut self.violations) {
            self.settle(parameter, before);
            return None;
        }
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(_) => {
                self.wrong(parameter, "", "type", "cannot be read".into());
                None
            }
        }
    }

    fn raw(&self, parameter: &Parameter) -> Result<Option<Value>, Unreadable> {
        let parts = &self.incoming.parts;
        match parameter.place {
            Place::Path => {
                if self.incoming.unreadable.contains(&parameter.name) {
                    return Err(Unreadable::NotUtf8);
                }
                let found = self.incoming.path.iter().find(|(name, _)| *name == parameter.name);
                found.map(|(_, text)| decode::simple(parameter, text)).transpose()
            }
            Place::Query => Pairs::parse(parts.uri.query().unwrap_or_default()).read(parameter),
            Place::Header => {
                let mut lines = parts.headers.get_all(parameter.name).iter();
                let Some(first) = lines.next() else { return Ok(None) };
                let text = |line: &http::HeaderValue| {
                    std::str::from_utf8(line.as_bytes()).map(str::to_owned).map_err(|_| Unreadable::NotUtf8)
                };
                // Several lines are one list (RFC 9110 section 5.3).
                let mut whole = text(first)?;
                for line in lines {
                    whole.push_str(", ");
                    whole.push_str(&text(line)?);
                }
                decode::simple(parameter, &whole).map(Some)
            }
            Place::Cookie => {
                let lines = parts.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
                let found = lines.into_iter().find_map(|line| decode::cookie(line, parameter.name));
                found.map(|text| decode::simple(parameter, &decode::decode_path(text)?)).transpose()
            }
            Place::Body => Ok(None),
        }
    }

    fn wrong(&mut self, parameter: &'static Parameter, below: &str, rule: &'static str, message: String) {
        let before = self.violations.len();
        self.violations.push(Violation {
            place: parameter.place,
            pointer: format!("/{}{below}", escape(parameter.name)),
            rule: rule.into(),
            message: message.into(),
        });
        self.settle(parameter, before);
    }

    /// A bad path parameter with a documented 404 is not a violation, but the end of the search.
    fn settle(&mut self, parameter: &'static Parameter, before: usize) {
        if let Some(answer) = parameter.not_found {
            let mut own = self.violations.drain(before..);
            if let Some(first) = own.next() {
                drop(own);
                self.not_found.get_or_insert((answer, first));
            }
        }
    }

    /// The JSON body, held to its schema; `None` if it is absent and may be, or is wrong.
    ///
    /// # Errors
    ///
    /// If the body cannot be read at all.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Rejection> {
        let Some((description, bytes)) = self.bytes().await? else { return Ok(None) };
        let value = crate::json::parse(&bytes)
            .map_err(|error| Rejection::body(RejectionKind::Malformed, "syntax", format!("is not JSON: {error}")))?;
        drop(bytes);
        Ok(self.typed(description, value))
    }

    /// The body of `application/x-www-form-urlencoded`, held to its schema.
    ///
    /// # Errors
    ///
    /// If the body cannot be read at all.
    pub async fn form<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Rejection> {
        let Some((description, bytes)) = self.bytes().await? else { return Ok(None) };
        let BodyForm::Form(properties) = description.form else {
            return Err(Rejection::internal("the operation has no form body"));
        };
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Rejection::body(RejectionKind::Malformed, "syntax", "is not UTF-8"))?;
        let value = match Pairs::parse(text).read_form(properties) {
            Ok(value) => value,
            Err((name, unreadable)) => {
                self.violations.push(Violation {
                    place: Place::Body,
                    pointer: format!("/{}", escape(&name)),
                    rule: "type".into(),
                    message: unreadable.message().into(),
                });
                return Ok(None);
            }
        };
        Ok(self.typed(description, value))
    }

    /// The body of `multipart/form-data`, its fields held to their schema and its files spooled.
    ///
    /// # Errors
    ///
    /// If the body cannot be read at all.
    pub async fn multipart(&mut self) -> Result<Option<Form>, Rejection> {
        let Some(description) = self.description()? else { return Ok(None) };
        let BodyForm::Multipart(parts) = description.form else {
            return Err(Rejection::internal("the operation has no multipart body"));
        };
        let content_type = self.incoming.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let body = std::mem::take(&mut self.incoming.body);
        let before = self.violations.len();
        let mut form = multipart::read(body, &content_type, parts, description.max_bytes, &mut self.violations).await?;
        let values = Value::Object(std::mem::take(&mut form.values));
        let right = match description.schema {
            Some(schema) => self.incoming.schemas.check(schema, &values, Place::Body, "", &mut self.violations),
            None => true,
        };
        if let Value::Object(values) = values {
            form.values = values;
        }
        Ok((right && self.violations.len() == before).then_some(form))
    }

    /// The body as text.
    ///
    /// # Errors
    ///
    /// If the body cannot be read at all.
    pub async fn text(&mut self) -> Result<Option<String>, Rejection> {
        let Some((description, bytes)) = self.bytes().await? else { return Ok(None) };
        let text = String::from_utf8(bytes.into())
            .map_err(|_| Rejection::body(RejectionKind::Malformed, "syntax", "is not UTF-8"))?;
        Ok(self.typed(description, Value::String(text)))
    }

    /// The body as bytes.
    ///
    /// # Errors
    ///
    /// If the body cannot be read at all.
    pub async fn octets(&mut self) -> Result<Option<Bytes>, Rejection> {
        Ok(self.bytes().await?.map(|(_, bytes)| bytes))
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// If anything was wrong; it names everything.
    pub fn finish(self) -> Result<(), Rejection> {
        if !self.violations.is_empty() {
            return Err(Rejection::of(self.violations));
        }
        match self.not_found {
            Some((answer, violation)) => {
                Err(Rejection { kind: RejectionKind::NotFound, violations: vec![violation], not_found: Some(answer) })
            }
            None => Ok(()),
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, description: &BodyDescription, value: Value) -> Option<T> {
        if let Some(schema) = description.schema
            && !self.incoming.schemas.check(schema, &value, Place::Body, "", &mut self.violations)
        {
            return None;
        }
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(error) => {
                // A value that its schema allows and its type cannot hold, such as an integer beyond 64 bits.
                tracing::debug!(%error, "a valid body does not fit its type");
                self.violations.push(Violation {
                    place: Place::Body,
                    pointer: String::new(),
                    rule: "type".into(),
                    message: "has a value that is out of range".into(),
                });
                None
            }
        }
    }

    /// The body's description if there is a body to read, with its media type and declared length judged.
    fn description(&self) -> Result<Option<&'static BodyDescription>, Rejection> {
        let Some(description) = self.incoming.operation.body else { return Ok(None) };
        let headers = &self.incoming.parts.headers;
        let body = &self.incoming.body;
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let length = length.or(http_body::Body::size_hint(body).exact());
        if length == Some(0) {
            return match description.required {
                true => Err(Rejection::body(RejectionKind::Malformed, "syntax", "is empty")),
                false => Ok(None),
            };
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|text| readable(text, description)) {
            let message = format!("must be {}", description.media_types.join(" or "));
            return Err(Rejection::body(RejectionKind::MediaType, "contentMediaType", message));
        }
        if length.is_some_and(|length| length > description.max_bytes) {
            return Err(Rejection::body(RejectionKind::TooLarge, "maxBytes", "is too large"));
        }
        Ok(Some(description))
    }

    /// Reads on for a while what is not wanted. An answer to a caller that is still sending is lost when the connection
    /// is closed on it (RFC 9112 section 9.6), and who sends a little too much should learn why.
    async fn drain(&mut self) {
        let mut body = std::mem::take(&mut self.incoming.body);
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > DRAINED {
                break;
            }
        }
    }

    async fn bytes(&mut self) -> Result<Option<(&'static BodyDescription, Bytes)>, Rejection> {
        let description = match self.description() {
            Ok(Some(description)) => description,
            Ok(None) => return Ok(None),
            Err(rejection) => {
                self.drain().await;
                return Err(rejection);
            }
        };
        let mut body = std::mem::take(&mut self.incoming.body);
        let mut first: Option<Bytes> = None;
        let mut whole = BytesMut::new();
        let mut length = 0_u64;
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|_| Rejection::body(RejectionKind::Malformed, "syntax", "ends before it is complete"))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len() as u64;
            if length > description.max_bytes {
                return Err(Rejection::body(RejectionKind::TooLarge, "maxBytes", "is too large"));
            }
            // Most bodies come in one piece, which needs no copy.
            match first.take() {
                None if whole.is_empty() => first = Some(data),
                None => whole.extend_from_slice(&data),
                Some(before) => {
                    whole.extend_from_slice(&before);
                    whole.extend_from_slice(&data);
                }
            }
        }
        let bytes = first.unwrap_or_else(|| whole.freeze());
        if bytes.is_empty() {
            return match description.required {
                true => Err(Rejection::body(RejectionKind::Malformed, "syntax", "is empty")),
                false => Ok(None),
            };
        }
        Ok(Some((description, bytes)))
    }
}

/// What generated code says when every part of a request was right and one is missing nevertheless.
///
/// # Errors
///
/// If there is no value.
pub fn proven<T>(value: Option<T>) -> Result<T, Rejection> {
    value.ok_or_else(|| Rejection::internal("a required part of a request was neither there nor missed"))
}

/// Whether a body with this `Content-Type` is one that the operation reads.
fn readable(content_type: &str, description: &BodyDescription) -> bool {
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let essence = essence.trim().to_ascii_lowercase();
    if !description.media_types.iter().any(|range| accepts(range, &essence)) {
        return false;
    }
    match description.form {
        BodyForm::Multipart(_) | BodyForm::Bytes => true,
        // Text of another encoding would be read wrongly; ASCII is UTF-8.
        BodyForm::Json | BodyForm::Form(_) | BodyForm::Text => parameters.split(';').all(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            !name.trim().eq_ignore_ascii_case("charset") || matches!(value.as_str(), "utf-8" | "utf8" | "us-ascii")
        }),
    }
}

/// Whether a media type or range (`text/*`, `*/*`) covers a media type, both lower case and without parameters.
pub(crate) fn accepts(range: &str, essence: &str) -> bool {
    match range.strip_suffix('*') {
        Some("*/") => true,
        Some(prefix) => essence.starts_with(prefix),
        None => range == essence,
    }
}
