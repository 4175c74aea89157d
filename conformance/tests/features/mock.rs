//! A service made from a document: it reads parameters and bodies strictly by their styles and media types, judges them by
//! their schemas, and answers what the document promises. Written apart from the harness's own reader and writer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use base64::Engine as _;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use trueline_conformance::data::Generator;
use trueline_spec::Contract;
use trueline_spec::contract::{
    Direction, Media, Operation, Parameter, ParameterEncoding, ParameterPlace, PathPiece, Schema, SecurityKind,
    StatusPattern, Style,
};

/// What everybody shows who may come in.
pub(crate) const CREDENTIAL: &str = "somebody:open-sesame";

#[derive(Clone)]
pub(crate) struct Service {
    contract: Arc<Contract>,
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

impl tower::Service<Request<Full<Bytes>>> for Service {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        ready(Ok(self.answer(request)))
    }
}

/// Pairs of decoded names and values.
type Pairs = Vec<(String, String)>;

impl Service {
    pub(crate) fn new(contract: Arc<Contract>) -> Self {
        Service { contract, taken: Arc::default(), refused: Arc::default() }
    }

    /// Requests taken and refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.taken.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    fn answer(&self, request: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().now_or_never().unwrap().unwrap().to_bytes();
        let path = parts.uri.path();
        let here: Vec<(&Operation, BTreeMap<String, String>)> =
            self.contract.operations.iter().filter_map(|one| Some((one, matched(one, path)?))).collect();
        let Some((operation, in_path)) = here.iter().find(|(one, _)| one.method == parts.method) else {
            let Some((other, _)) = here.first() else { return plain(404) };
            let mut response = plain(405);
            let allowed: Vec<&str> = here.iter().map(|(one, _)| one.method.as_str()).collect();
            let _ = other;
            response.headers_mut().insert("allow", allowed.join(", ").parse().unwrap());
            return response;
        };
        let query: Vec<(String, String)> = split(parts.uri.query().unwrap_or_default(), '&');
        if !self.let_in(operation, &parts.headers, &query) {
            let mut response = self.documented(operation, 401, 0);
            let challenge = match operation.security.first().and_then(|one| one.schemes.keys().next()) {
                Some(name) if self.contract.security_schemes[name].kind == basic() => "Basic realm=\"a\"",
                _ => "Bearer",
            };
            response.headers_mut().insert("www-authenticate", HeaderValue::from_static(challenge));
            return response;
        }
        let asked = Asked { contract: &self.contract, in_path, query: &query, headers: &parts.headers };
        let outcome = asked.parameters(operation).and_then(|()| asked.body(operation, &body));
        match outcome {
            Ok(()) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                let mut hasher = DefaultHasher::new();
                parts.uri.to_string().hash(&mut hasher);
                self.documented(operation, success(operation), hasher.finish() % 64)
            }
            Err(status) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                self.documented(operation, status, 0)
            }
        }
    }

    fn let_in(&self, operation: &Operation, headers: &HeaderMap, query: &[(String, String)]) -> bool {
        let shown = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let encoded = base64::engine::general_purpose::STANDARD.encode(CREDENTIAL);
        let holds = |name: &String| match &self.contract.security_schemes[name].kind {
            SecurityKind::ApiKey { place: ParameterPlace::Header, name } => shown(name) == CREDENTIAL,
            SecurityKind::ApiKey { place: ParameterPlace::Cookie, name } => {
                split(&shown("cookie"), ';').contains(&(name.clone(), CREDENTIAL.to_owned()))
            }
            SecurityKind::ApiKey { name, .. } => {
                query.iter().any(|(key, value)| key == name && decode(value) == CREDENTIAL)
            }
            SecurityKind::Http { scheme, .. } if scheme == "basic" => {
                shown("authorization") == format!("Basic {encoded}")
            }
            _ => shown("authorization") == format!("Bearer {CREDENTIAL}"),
        };
        operation.security.is_empty() || operation.security.iter().any(|one| one.schemes.keys().all(holds))
    }

    /// The documented answer for a status, with a body and headers that fit.
    fn documented(&self, operation: &Operation, status: u16, index: u64) -> Response<Full<Bytes>> {
        let Some(documented) = operation.response(status) else { return plain(status) };
        let made = |schema: &Schema| {
            let whole = self.contract.standalone(schema, Direction::Response);
            Generator::new(&whole).unwrap().sample(7, index)
        };
        let mut response = plain(status);
        for header in documented.headers.iter().filter(|header| header.required) {
            let text = match made(&header.schema) {
                Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(","),
                Value::Object(members) => {
                    members.iter().map(|(key, value)| format!("{key},{}", text_of(value))).collect::<Vec<_>>().join(",")
                }
                scalar => text_of(&scalar),
            };
            response
                .headers_mut()
                .insert(http::HeaderName::from_bytes(header.name.as_bytes()).unwrap(), text.parse().unwrap());
        }
        let Some(media) = documented.media.first() else { return response };
        let mut kind = media.media_type.clone();
        let body = match (media.media_type.as_str(), &media.item_schema, &media.schema) {
            ("text/event-stream", Some(items), _) => {
                let event = made(items);
                // Where the schema is the event, its data is JSON by `contentSchema`; else it is the data.
                let (name, data) = match (event.get("data"), event.get("event")) {
                    (Some(_), name) => (name.map(text_of), json!({"text": "said"}).to_string()),
                    _ => (None, event.to_string()),
                };
                let name = name.map(|name| format!("event: {name}\r\n")).unwrap_or_default();
                format!(": hello\n\n{name}data: {data}\r\n\r\ndata: [DONE]\n\n")
            }
            (_, Some(items), _) => format!("{}\n{}\n", made(items), made(items)),
            ("text/plain", _, Some(schema)) => text_of(&made(schema)),
            (_, _, Some(schema)) => made(schema).to_string(),
            (_, _, None) => String::new(),
        };
        if kind == "*/*" {
            kind = "application/json".into();
        }
        response.headers_mut().insert("content-type", kind.parse().unwrap());
        *response.body_mut() = Full::from(body);
        response
    }
}

fn basic() -> SecurityKind {
    SecurityKind::Http { scheme: "basic".into(), bearer_format: None }
}

fn plain(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::default()).unwrap()
}

fn success(operation: &Operation) -> u16 {
    let fine = operation.responses.iter().find_map(|response| match response.status {
        StatusPattern::Exact(status @ 200..=299) => Some(status),
        StatusPattern::Range(2) => Some(200),
        _ => None,
    });
    fine.unwrap_or(200)
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The raw path parameters, if the path is the operation's. Each parameter of these documents fills its segment.
fn matched(operation: &Operation, path: &str) -> Option<BTreeMap<String, String>> {
    let template: Vec<&str> = operation.path.text.split('/').collect();
    let segments: Vec<&str> = path.split('/').collect();
    let mut found = BTreeMap::new();
    if template.len() != segments.len() {
        return None;
    }
    for (wanted, segment) in template.into_iter().zip(segments) {
        match wanted.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(_) if segment.is_empty() => return None,
            Some(name) => {
                found.insert(name.to_owned(), segment.to_owned());
            }
            None if wanted == segment => {}
            None => return None,
        }
    }
    debug_assert!(operation.path.pieces.iter().any(|piece| matches!(piece, PathPiece::Literal(_))));
    Some(found)
}

/// Raw pairs: `+` is a blank, names are decoded, values are not: a style may split them first.
fn split(text: &str, separator: char) -> Pairs {
    let pieces = text.split(separator).map(str::trim).filter(|piece| !piece.is_empty());
    let pairs = pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "")));
    pairs.map(|(name, value)| (decode(name), value.replace('+', "%20"))).collect()
}

struct Asked<'a> {
    contract: &'a Contract,
    in_path: &'a BTreeMap<String, String>,
    query: &'a Pairs,
    headers: &'a HeaderMap,
}

impl Asked<'_> {
    fn parameters(&self, operation: &Operation) -> Result<(), u16> {
        for parameter in &operation.parameters {
            match self.parameter(parameter)? {
                Some(value) => self.judge(&parameter.schema, &value)?,
                None if parameter.required => return Err(400),
                None => {}
            }
        }
        Ok(())
    }

    fn judge(&self, schema: &Schema, value: &Value) -> Result<(), u16> {
        let validator = self.contract.validator(schema, Direction::Request).unwrap();
        if validator.is_valid(value) { Ok(()) } else { Err(422) }
    }

    /// The value of a parameter by the letter of its style; none if it is not there.
    fn parameter(&self, parameter: &Parameter) -> Result<Option<Value>, u16> {
        let name = &parameter.name;
        let pairs = match parameter.place {
            ParameterPlace::Query => self.query.clone(),
            ParameterPlace::Cookie => {
                let text = self.headers.get("cookie").and_then(|text| text.to_str().ok()).unwrap_or_default();
                split(text, ';')
            }
            ParameterPlace::Path => {
                let raw = self.in_path.get(name).ok_or(404_u16)?;
                return self.lone(parameter, raw, true).map(Some);
            }
            ParameterPlace::Header => {
                let Some(text) = self.headers.get(name.to_ascii_lowercase()) else { return Ok(None) };
                return self.lone(parameter, text.to_str().map_err(|_| 400_u16)?, false).map(Some);
            }
        };
        self.paired(name, &parameter.encoding, &parameter.schema, &pairs)
    }

    /// A value that stands alone: in a path segment or a header.
    fn lone(&self, parameter: &Parameter, raw: &str, encoded: bool) -> Result<Value, u16> {
        let ParameterEncoding::Style { style, explode } = parameter.encoding else {
            return serde_json::from_str(&decode(raw)).map_err(|_| 400);
        };
        let shape = self.shape(&parameter.schema.value);
        let read = |text: &str| if encoded { decode(text) } else { text.to_owned() };
        let name = format!(";{}=", parameter.name);
        let (rest, delimiter) = match (style, explode, shape) {
            (Style::Label, true, _) => (raw.strip_prefix('.').ok_or(400_u16)?, "."),
            (Style::Label, false, _) => (raw.strip_prefix('.').ok_or(400_u16)?, ","),
            (Style::Matrix, true, 'o') => (raw.strip_prefix(';').ok_or(400_u16)?, ";"),
            (Style::Matrix, true, 'a') => (raw.strip_prefix(name.as_str()).ok_or(400_u16)?, name.as_str()),
            (Style::Matrix, ..) => (raw.strip_prefix(name.as_str()).ok_or(400_u16)?, ","),
            (Style::SpaceDelimited, ..) => (raw, if encoded { "%20" } else { " " }),
            (Style::PipeDelimited, ..) => (raw, if encoded { "%7C" } else { "|" }),
            (Style::TabDelimited, ..) => (raw, if encoded { "%09" } else { "\t" }),
            _ => (raw, ","),
        };
        let pieces: Vec<String> = match shape {
            's' => return Ok(self.leaf(&parameter.schema.value, &read(rest))),
            _ => rest
                .split(delimiter)
                .map(|piece| if explode && shape == 'o' { piece.to_owned() } else { read(piece) })
                .collect(),
        };
        if shape == 'o' && explode {
            let pairs = pieces.iter().map(|piece| piece.split_once('=').ok_or(400_u16));
            let pairs = pairs.map(|pair| pair.map(|(key, value)| (read(key), read(value))));
            return Ok(self.record(&parameter.schema.value, pairs.collect::<Result<_, _>>()?));
        }
        self.structure(&parameter.schema.value, shape, pieces)
    }

    fn structure(&self, schema: &Value, shape: char, pieces: Vec<String>) -> Result<Value, u16> {
        match shape {
            'a' => Ok(pieces.iter().map(|piece| self.leaf(&self.inside(schema, "items"), piece)).collect()),
            _ if pieces.len() % 2 == 1 => Err(400),
            _ => Ok(self.record(schema, pieces.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())),
        }
    }

    fn record(&self, schema: &Value, pairs: Pairs) -> Value {
        let schema = self.resolved(schema);
        let mut members = Map::new();
        for (key, text) in pairs {
            let property = schema.get("properties").and_then(|all| all.get(&key)).cloned().unwrap_or(json!({}));
            members.insert(key, self.leaf(&property, &text));
        }
        Value::Object(members)
    }

    /// A value among names and values: in a query, a cookie or a form.
    fn paired(
        &self,
        name: &str,
        encoding: &ParameterEncoding,
        schema: &Schema,
        pairs: &Pairs,
    ) -> Result<Option<Value>, u16> {
        let own: Vec<&String> = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
        let ParameterEncoding::Style { style, explode } = encoding else {
            let Some(text) = own.first() else { return Ok(None) };
            return serde_json::from_str(&decode(text)).map(Some).map_err(|_| 400);
        };
        let shape = self.shape(&schema.value);
        if shape == 'o' && *style == Style::DeepObject {
            let members = pairs.iter().filter_map(|(key, value)| {
                Some((key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?.to_owned(), decode(value)))
            });
            let members: Pairs = members.collect();
            let none = members.is_empty() && own.is_empty();
            return Ok((!none).then(|| self.record(&schema.value, members)));
        }
        if shape == 'o' && *explode {
            let members: Pairs = pairs.iter().map(|(key, value)| (key.clone(), decode(value))).collect();
            return Ok((!members.is_empty()).then(|| self.record(&schema.value, members)));
        }
        if own.is_empty() {
            return Ok(None);
        }
        if shape == 's' {
            return if own.len() == 1 { Ok(Some(self.leaf(&schema.value, &decode(own[0])))) } else { Err(400) };
        }
        if *explode {
            let pieces = own.iter().map(|text| decode(text)).collect();
            return self.structure(&schema.value, shape, pieces).map(Some);
        }
        let raw = own[0].replace("%2C", ",");
        let pieces = match style {
            Style::SpaceDelimited => raw.split("%20").map(decode).collect(),
            Style::PipeDelimited => raw.replace("%7C", "|").split('|').map(decode).collect(),
            Style::TabDelimited => raw.split("%09").map(decode).collect(),
            _ => raw.split(',').map(decode).collect(),
        };
        self.structure(&schema.value, shape, pieces).map(Some)
    }

    fn resolved(&self, schema: &Value) -> Value {
        let mut schema = schema.clone();
        while let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"))
        {
            schema = (*self.contract.schemas[name].value).clone();
        }
        schema
    }

    fn inside(&self, schema: &Value, key: &str) -> Value {
        self.resolved(schema).get(key).cloned().unwrap_or(json!({}))
    }

    /// `a`rray, `o`bject or `s`calar.
    fn shape(&self, schema: &Value) -> char {
        match self.resolved(schema).get("type").and_then(Value::as_str) {
            Some("array") => 'a',
            Some("object") => 'o',
            _ => 's',
        }
    }

    /// A text in the type that its schema names.
    fn leaf(&self, schema: &Value, text: &str) -> Value {
        let schema = self.resolved(schema);
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let number = types.iter().any(|kind| matches!(*kind, "integer" | "number"));
        match serde_json::from_str(text) {
            Ok(value @ Value::Number(_)) if number => value,
            Ok(value @ Value::Bool(_)) if types.contains(&"boolean") => value,
            Ok(value @ (Value::Array(_) | Value::Object(_)))
                if types.iter().any(|kind| matches!(*kind, "array" | "object")) =>
            {
                value
            }
            _ => Value::from(text),
        }
    }

    // ------------------------------------------------------------------------------------------------- bodies

    fn body(&self, operation: &Operation, bytes: &Bytes) -> Result<(), u16> {
        let Some(documented) = &operation.body else { return Ok(()) };
        let said = self.headers.get("content-type").and_then(|text| text.to_str().ok()).unwrap_or_default();
        if bytes.is_empty() {
            let octets = said == "application/octet-stream" && documented.media[0].media_type == said;
            return if documented.required && !octets { Err(400) } else { Ok(()) };
        }
        let kind = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let media = documented.media.iter().find(|media| media.media_type == kind).ok_or(415_u16)?;
        let text = || std::str::from_utf8(bytes).map_err(|_| 400_u16);
        let json = |text: &str| serde_json::from_str::<Value>(text).map_err(|_| 400_u16);
        match media.media_type.as_str() {
            "application/octet-stream" => Ok(()),
            "application/x-ndjson" | "application/jsonl" => {
                for line in text()?.lines() {
                    self.judge(media.item_schema.as_ref().unwrap(), &json(line)?)?;
                }
                Ok(())
            }
            "application/x-www-form-urlencoded" => {
                let value = self.form(media, &split(text()?, '&'))?;
                self.judge(media.schema.as_ref().unwrap(), &value)
            }
            "multipart/form-data" => {
                let boundary = said.split("boundary=").nth(1).ok_or(400_u16)?;
                let value = self.form(media, &parts(bytes, boundary).ok_or(400_u16)?)?;
                self.judge(media.schema.as_ref().unwrap(), &value)
            }
            "text/plain" => self.judge(media.schema.as_ref().unwrap(), &Value::from(text()?)),
            _ => self.judge(media.schema.as_ref().unwrap(), &json(text()?)?),
        }
    }

    fn form(&self, media: &Media, pairs: &Pairs) -> Result<Value, u16> {
        let schema = media.schema.as_ref().unwrap();
        let whole = self.resolved(&schema.value);
        let mut members = Map::new();
        for (name, text) in pairs {
            let property = whole.get("properties").and_then(|all| all.get(name)).cloned().unwrap_or(json!({}));
            if members.contains_key(name) {
                continue;
            }
            let plain = ParameterEncoding::Style { style: Style::Form, explode: true };
            let encoding = media.part_styles.get(name).unwrap_or(&plain);
            let part = Schema { value: property.into(), at: schema.at.clone(), origins: None };
            let value = match self.shape(&part.value) {
                'o' => Some(self.leaf(&part.value, &decode(text))),
                _ => self.paired(name, encoding, &part, pairs)?,
            };
            members.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(Value::Object(members))
    }
}

/// Names and (percent-encoded, as the others are) contents of the parts.
fn parts(bytes: &[u8], boundary: &str) -> Option<Pairs> {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    for piece in text.split(&format!("--{boundary}")).skip(1) {
        if piece.starts_with("--") {
            break;
        }
        let (head, content) = piece.strip_prefix("\r\n")?.split_once("\r\n\r\n")?;
        let name = head.split("name=\"").nth(1)?.split('"').next()?;
        let content = content.strip_suffix("\r\n")?;
        let content = percent_encoding::utf8_percent_encode(content, percent_encoding::NON_ALPHANUMERIC);
        found.push((name.to_owned(), content.to_string()));
    }
    Some(found)
}
