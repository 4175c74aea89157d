//! Requests that progenitor cannot make: cookies, delimited lists, optional bodies, forms, files. They are made from
//! the same table that the server reads them by.

use std::fmt;

use http::header::{CONTENT_TYPE, COOKIE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;

use crate::client::{Received, TransportError};
use crate::contract::{Operation, Parameter, Place, SchemeKind, Style};
use crate::multipart::Upload;

/// What a caller proves itself with. Never printed.
#[derive(Clone, Default)]
pub struct Credentials {
    headers: HeaderMap,
    query: Vec<(&'static str, String)>,
    cookies: Vec<(&'static str, String)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([secret])")
    }
}

impl Credentials {
    /// Adds one; of two that go to the same place, the later counts.
    ///
    /// # Errors
    ///
    /// If it has control characters.
    pub fn set(&mut self, scheme: SchemeKind, secret: &str) -> Result<(), TransportError> {
        let mut header = |name: &str, value: String| {
            let name: HeaderName =
                name.parse().map_err(|_| TransportError::Request(format!("{name} is not a header name")))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| TransportError::Request("a credential must not contain control characters".to_owned()))?;
            value.set_sensitive(true);
            self.headers.insert(name, value);
            Ok(())
        };
        match scheme {
            SchemeKind::Bearer => header("authorization", format!("Bearer {secret}")),
            SchemeKind::Basic => header("authorization", format!("Basic {secret}")),
            SchemeKind::OtherHttp(scheme) => header("authorization", format!("{scheme} {secret}")),
            SchemeKind::Header(name) => header(name, secret.to_owned()),
            SchemeKind::Query(name) => {
                self.query.retain(|(other, _)| *other != name);
                self.query.push((name, secret.to_owned()));
                Ok(())
            }
            SchemeKind::Cookie(name) => {
                self.cookies.retain(|(other, _)| *other != name);
                self.cookies.push((name, secret.to_owned()));
                Ok(())
            }
            // The connection carries it.
            SchemeKind::MutualTls => Ok(()),
        }
    }

    /// Puts them on a request.
    pub fn apply(&self, request: &mut reqwest::Request) {
        // progenitor sends the document's version under a name that no contract of ours has.
        request.headers_mut().remove("api-version");
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        for (name, value) in &self.query {
            request.url_mut().query_pairs_mut().append_pair(name, value);
        }
        for (name, value) in &self.cookies {
            let cookie = format!("{name}={}", escape(value));
            let whole = match request.headers().get(COOKIE).and_then(|value| value.to_str().ok()) {
                Some(others) => format!("{others}; {cookie}"),
                None => cookie,
            };
            if let Ok(value) = HeaderValue::try_from(whole) {
                request.headers_mut().insert(COOKIE, value);
            }
        }
    }
}

/// A request in the making.
#[derive(Debug)]
pub struct Direct {
    operation: &'static Operation,
    path: String,
    query: Vec<String>,
    headers: HeaderMap,
    cookies: Vec<String>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    None,
    Bytes(Vec<u8>),
    Form(reqwest::multipart::Form),
}

/// RFC 3986 section 2.3: whatever is not unreserved is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn unwritable(error: impl fmt::Display) -> TransportError {
    TransportError::Request(error.to_string())
}

impl Direct {
    /// A request without parameters.
    pub fn new(operation: &'static Operation) -> Self {
        let path = operation.path.to_owned();
        Direct { operation, path, query: Vec::new(), headers: HeaderMap::new(), cookies: Vec::new(), body: Body::None }
    }

    /// Adds the parameter with this index, if it has a value.
    ///
    /// # Errors
    ///
    /// If the value has no form there.
    pub fn parameter<T: Serialize>(mut self, index: usize, value: Option<&T>) -> Result<Self, TransportError> {
        let (Some(parameter), Some(value)) = (self.operation.parameters.get(index), value) else { return Ok(self) };
        let value = serde_json::to_value(value).map_err(unwritable)?;
        if value.is_null() {
            return Ok(self);
        }
        match parameter.place {
            Place::Path => {
                let text = simple(parameter, &value, escape);
                self.path = self.path.replace(&format!("{{{}}}", parameter.name), &text);
            }
            Place::Query => self.query.extend(query(parameter, &value)),
            Place::Header => {
                let text = simple(parameter, &value, str::to_owned);
                let name: HeaderName = parameter.name.parse().map_err(unwritable)?;
                self.headers.insert(name, HeaderValue::try_from(text).map_err(unwritable)?);
            }
            Place::Cookie => self.cookies.push(format!("{}={}", parameter.name, simple(parameter, &value, escape))),
            Place::Body => {}
        }
        Ok(self)
    }

    fn typed(mut self, media_type: &'static str, body: Vec<u8>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.body = Body::Bytes(body);
        self
    }

    /// A JSON body, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn json<T: Serialize>(self, media_type: &'static str, body: Option<&T>) -> Result<Self, TransportError> {
        match body {
            Some(body) => Ok(self.typed(media_type, serde_json::to_vec(body).map_err(unwritable)?)),
            None => Ok(self),
        }
    }

    /// A form body, if there is one: one pair for each property, and for each item of a list.
    ///
    /// # Errors
    ///
    /// If it is not an object.
    pub fn form<T: Serialize>(self, body: Option<&T>) -> Result<Self, TransportError> {
        let Some(body) = body else { return Ok(self) };
        let Value::Object(members) = serde_json::to_value(body).map_err(unwritable)? else {
            return Err(TransportError::Request("a form is an object".to_owned()));
        };
        let mut pairs = Vec::new();
        for (name, value) in &members {
            match value {
                Value::Null => {}
                Value::Array(items) => {
                    pairs.extend(items.iter().map(|item| format!("{}={}", escape(name), escape(&plain(item)))))
                }
                value => pairs.push(format!("{}={}", escape(name), escape(&plain(value)))),
            }
        }
        Ok(self.typed("application/x-www-form-urlencoded", pairs.join("&").into_bytes()))
    }

    /// A body of bytes or text, if there is one.
    pub fn bytes(self, media_type: &'static str, body: Option<&[u8]>) -> Self {
        match body {
            Some(body) => self.typed(media_type, body.to_vec()),
            None => self,
        }
    }

    /// A field of a multipart form, if it has a value; of a list, one part for each item.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn part<T: Serialize>(mut self, name: &'static str, value: Option<&T>) -> Result<Self, TransportError> {
        let Some(value) = value else { return Ok(self) };
        match serde_json::to_value(value).map_err(unwritable)? {
            Value::Null => {}
            Value::Array(items) => {
                for item in &items {
                    self.add(name, reqwest::multipart::Part::text(plain(item)));
                }
            }
            object @ Value::Object(_) => {
                let part = reqwest::multipart::Part::text(object.to_string());
                self.add(name, part.mime_str("application/json").map_err(TransportError::Exchange)?);
            }
            value => self.add(name, reqwest::multipart::Part::text(plain(&value))),
        }
        Ok(self)
    }

    /// A file of a multipart form; it is streamed.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub async fn file(mut self, name: &'static str, upload: &Upload) -> Result<Self, TransportError> {
        let reader = upload.reader().await.map_err(TransportError::File)?;
        let stream = futures::stream::unfold(reader, |mut reader| async move {
            let mut piece = vec![0; 64 * 1024];
            match tokio::io::AsyncReadExt::read(&mut reader, &mut piece).await {
                Ok(0) => None,
                Ok(length) => {
                    piece.truncate(length);
                    Some((Ok::<_, std::io::Error>(piece), reader))
                }
                Err(error) => Some((Err(error), reader)),
            }
        });
        let mut part = reqwest::multipart::Part::stream_with_length(reqwest::Body::wrap_stream(stream), upload.len());
        part = part.file_name(upload.file_name.clone().unwrap_or_else(|| name.to_owned()));
        let content_type = upload.content_type.as_deref().unwrap_or("application/octet-stream");
        part = part.mime_str(content_type).map_err(|error| TransportError::Request(error.to_string()))?;
        self.add(name, part);
        Ok(self)
    }

    fn add(&mut self, name: &'static str, part: reqwest::multipart::Part) {
        let form = match std::mem::replace(&mut self.body, Body::None) {
            Body::Form(form) => form,
            Body::None | Body::Bytes(_) => reqwest::multipart::Form::new(),
        };
        self.body = Body::Form(form.part(name, part));
    }

    /// Sends it.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn send(
        self,
        base_url: &str,
        http: &reqwest::Client,
        credentials: &Credentials,
    ) -> Result<Received, TransportError> {
        let mut url = format!("{}{}", base_url.trim_end_matches('/'), self.path);
        if !self.query.is_empty() {
            url.push('?');
            url.push_str(&self.query.join("&"));
        }
        let method: Method = self.operation.method.parse().map_err(unwritable)?;
        let mut builder = http.request(method, url).headers(self.headers);
        if !self.cookies.is_empty() {
            builder = builder.header(COOKIE, self.cookies.join("; "));
        }
        builder = match self.body {
            Body::None => builder,
            Body::Bytes(body) => builder.body(body),
            Body::Form(form) => builder.multipart(form),
        };
        let mut request = builder.build().map_err(|error| TransportError::Request(super::chain(&error)))?;
        credentials.apply(&mut request);
        Ok(Received::from(http.execute(request).await.map_err(TransportError::Exchange)?))
    }
}

/// Style `simple`, and the one value of `form`.
fn simple(parameter: &Parameter, value: &Value, escape: impl Fn(&str) -> String) -> String {
    if parameter.style == Style::Json {
        return escape(&value.to_string());
    }
    match value {
        Value::Array(items) => items.iter().map(|item| escape(&plain(item))).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            let between = if parameter.explode { "=" } else { "," };
            let pair = |(name, value): (&String, &Value)| format!("{}{between}{}", escape(name), escape(&plain(value)));
            members.iter().map(pair).collect::<Vec<_>>().join(",")
        }
        value => escape(&plain(value)),
    }
}

fn query(parameter: &Parameter, value: &Value) -> Vec<String> {
    let name = escape(parameter.name);
    let pair = |name: &str, value: &Value| format!("{name}={}", escape(&plain(value)));
    match (value, parameter.style) {
        (_, Style::Json) => vec![format!("{name}={}", escape(&value.to_string()))],
        (Value::Object(members), Style::DeepObject) => members
            .iter()
            .flat_map(|(property, value)| {
                let key = format!("{name}{}", escape(&format!("[{property}]")));
                match value {
                    Value::Null => Vec::new(),
                    Value::Array(items) => items.iter().map(|item| pair(&key, item)).collect(),
                    value => vec![pair(&key, value)],
                }
            })
            .collect(),
        (Value::Object(members), _) if parameter.explode => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(property, value)| pair(&escape(property), value))
            .collect(),
        (Value::Array(items), _) if parameter.explode => items.iter().map(|item| pair(&name, item)).collect(),
        (Value::Array(items), style) => {
            let between = match style {
                Style::SpaceDelimited => "%20",
                Style::PipeDelimited => "%7C",
                _ => ",",
            };
            let items: Vec<String> = items.iter().map(|item| escape(&plain(item))).collect();
            vec![format!("{name}={}", items.join(between))]
        }
        (Value::Object(_), _) => vec![format!("{name}={}", simple(parameter, value, escape))],
        (value, _) => vec![pair(&name, value)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Kind;
    use crate::decode::Pairs;
    use serde_json::json;

    fn parameter(style: Style, explode: bool, kind: Kind) -> Parameter {
        Parameter { name: "p", place: Place::Query, required: false, style, explode, kind, schema: 0, not_found: None }
    }

    #[test]
    fn what_is_written_is_read_back() {
        const TEXTS: Kind = Kind::Array(&Kind::String);
        const POINT: Kind = Kind::Object(&[("x", Kind::Integer), ("name", Kind::String)], None);
        let list = json!(["a b", "c,d", "e|f", "g&h=i", "ä", "+", "%"]);
        let point = json!({"x": 1, "name": "a,b=c"});
        for (style, explode, kind, value) in [
            (Style::Form, true, TEXTS, &list),
            (Style::Form, false, TEXTS, &list),
            // Neither style can escape its own delimiter.
            (Style::SpaceDelimited, false, TEXTS, &json!(["a", "c,d", "e|f"])),
            (Style::PipeDelimited, false, TEXTS, &json!(["a b", "c,d"])),
            (Style::DeepObject, true, POINT, &point),
            (Style::Form, true, POINT, &point),
            (Style::Form, false, POINT, &point),
            (Style::Json, false, Kind::Json, &point),
            (Style::Form, true, Kind::String, &json!("a+b c")),
            (Style::Form, true, Kind::Boolean, &json!(true)),
        ] {
            let parameter = parameter(style, explode, kind);
            let text = query(&parameter, value).join("&");
            let read = Pairs::parse(&text).read(&parameter);
            assert_eq!(read, Ok(Some(value.clone())), "{style:?} {explode}: {text}");
        }
    }

    #[test]
    fn credentials_are_not_printed() {
        let mut credentials = Credentials::default();
        credentials.set(SchemeKind::Bearer, "hush").expect("set");
        credentials.set(SchemeKind::Query("key"), "hush").expect("set");
        assert!(!format!("{credentials:?}").contains("hush"));
        assert!(credentials.set(SchemeKind::Header("x-key"), "a\nb").is_err());
    }
}
