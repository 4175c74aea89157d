//! How values stand on the wire: parameters by style and place, bodies by media type.
//!
//! Encoding is strict: a value that a server following the contract could not read back as itself is not encoded, and the
//! reason is given. Reading is lenient: a wire text has no types, so it is taken for everything that it could mean, and a
//! negative case is a case only if none of the meanings is valid.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jsonschema::Validator;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Number, Value, json};
use trueline_spec::contract::{Media, Parameter, ParameterEncoding, ParameterPlace, Schema, Style};

use crate::data::{Boundary, Fault, FaultKind, FileValue, Generator, Verdict, schema::escape};

/// A parameter's value as it stands on the wire, percent-encoded for its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireParameter {
    /// Replaces `{name}` in the path template.
    Path(String),
    /// Encoded names and values; join with `=` and `&`. Empty for an empty array or object: nothing is sent.
    Query(Vec<(String, String)>),
    /// A header's value.
    Header(String),
    /// Encoded names and values; join with `=` and `; `.
    Cookie(Vec<(String, String)>),
}

/// A body as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedBody {
    /// The `Content-Type` header.
    pub content_type: String,
    /// The body.
    pub bytes: Bytes,
}

/// Why a value cannot be written in the way that the contract asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be written: {reason}")]
pub struct NotEncodable {
    /// Parameter or body, and its name.
    pub what: String,
    /// A lower-case fragment.
    pub reason: String,
}

/// RFC 3986, section 2.3: everything but the unreserved characters is encoded.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `allowReserved`: reserved characters stand, but for those that would end or split the pair.
const RESERVED: &AsciiSet = &UNRESERVED
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';');

fn encode(text: &str, reserved: bool) -> String {
    utf8_percent_encode(text, if reserved { RESERVED } else { UNRESERVED }).to_string()
}

/// Writes a parameter's value in its style.
///
/// Refused are values that have no form there (`null`, nested arrays) and values whose form means something else to
/// somebody on the way: an empty path segment, a slash in one, an array item with the delimiter in it, a header value with
/// more than visible ASCII.
pub fn encode_parameter(parameter: &Parameter, value: &Value) -> Result<WireParameter, NotEncodable> {
    let refuse = |reason: &str| NotEncodable {
        what: format!("{} parameter `{}`", parameter.place, parameter.name),
        reason: reason.to_owned(),
    };
    let (style, explode) = match &parameter.encoding {
        ParameterEncoding::Content(media_type) => {
            let text =
                content_text(media_type, value).ok_or_else(|| refuse("its media type is not JSON or plain text"))?;
            return place_text(parameter, &text).map_err(refuse);
        }
        ParameterEncoding::Style { style, explode } => (*style, *explode),
    };
    let shape = Shape::of(value).map_err(refuse)?;
    if parameter.place == ParameterPlace::Query || parameter.place == ParameterPlace::Cookie {
        // Many readers take `name=` for absent; it is written only where the schema refuses it anyway.
        let filled = parameter.schema.value.get("minLength").and_then(Value::as_u64).is_some_and(|min| min > 0);
        if matches!(&shape, Shape::Scalar(text) if text.is_empty()) && !filled {
            return Err(refuse("an empty value is as good as none"));
        }
        let site = (parameter.name.as_str(), parameter.place, parameter.allow_reserved);
        let pairs = encode_pairs(site, style, explode, &shape).map_err(refuse)?;
        if pairs.is_empty() && parameter.required {
            return Err(refuse("nothing would be sent, and it is required"));
        }
        return Ok(match parameter.place {
            ParameterPlace::Query => WireParameter::Query(pairs),
            _ => WireParameter::Cookie(pairs),
        });
    }
    let is_path = parameter.place == ParameterPlace::Path;
    let delimited = |items: &[String], delimiter: char| -> Result<String, &'static str> {
        let also_splits = if is_path && matches!(style, Style::Simple) { ',' } else { delimiter };
        if items.iter().any(|item| item.is_empty()) {
            return Err("an empty item cannot be told from none");
        }
        if items.iter().any(|item| item.contains(delimiter) || item.contains(also_splits)) {
            return Err("an item has the delimiter in it");
        }
        if !is_path && items.iter().any(|item| item.trim() != item) {
            return Err("an item has blanks at its ends");
        }
        let written: Vec<String> =
            items.iter().map(|item| if is_path { encode(item, false) } else { item.clone() }).collect();
        // Blanks, tabs and bars stand in no path as they are.
        let raw = is_path && matches!(delimiter, ' ' | '\t' | '|');
        Ok(written.join(&if raw { encode(&delimiter.to_string(), false) } else { delimiter.to_string() }))
    };
    let name = encode(&parameter.name, false);
    // Between items: what RFC 6570 puts there, or what the `collectionFormat` of Swagger 2.0 says.
    let (prefix, inner) = match (style, explode) {
        (Style::SpaceDelimited, _) => ("", ' '),
        (Style::TabDelimited, _) => ("", '\t'),
        (Style::PipeDelimited, _) => ("", '|'),
        (Style::Label, true) => (".", '.'),
        (Style::Label, false) => (".", ','),
        (Style::Matrix, true) => (";", ';'),
        _ => ("", ','),
    };
    let text = match (&shape, style) {
        (Shape::Scalar(text), _) => {
            let written = if is_path { encode(text, false) } else { text.clone() };
            check_segment(parameter, text).map_err(refuse)?;
            match style {
                Style::Label => format!(".{written}"),
                Style::Matrix => format!(";{name}={written}"),
                _ => written,
            }
        }
        (Shape::List(items), _) if items.is_empty() => return Err(refuse("an empty array has no form here")),
        (Shape::Record(members), _) if members.is_empty() => return Err(refuse("an empty object has no form here")),
        (Shape::List(items), Style::Matrix) if explode => {
            items.iter().map(|item| format!(";{name}={}", encode(item, false))).collect()
        }
        (Shape::List(items), Style::Matrix) => format!(";{name}={}", delimited(items, ',').map_err(refuse)?),
        (Shape::List(items), _) => format!("{prefix}{}", delimited(items, inner).map_err(refuse)?),
        (Shape::Record(members), _) if explode => {
            let mut pairs = Vec::new();
            for (key, value) in members {
                if [key, value].iter().any(|text| text.is_empty() || text.contains('=') || text.contains(inner)) {
                    return Err(refuse("a member has a delimiter in it"));
                }
                pairs.push(if is_path {
                    format!("{}={}", encode(key, false), encode(value, false))
                } else {
                    format!("{key}={value}")
                });
            }
            format!("{prefix}{}", pairs.join(&inner.to_string()))
        }
        (Shape::Record(members), _) => {
            let flat: Vec<String> = members.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect();
            let list = delimited(&flat, ',').map_err(refuse)?;
            if style == Style::Matrix { format!(";{name}={list}") } else { format!("{prefix}{list}") }
        }
    };
    for piece in shape.texts() {
        check_segment(parameter, piece).map_err(refuse)?;
    }
    Ok(if is_path { WireParameter::Path(text) } else { WireParameter::Header(text) })
}

/// A value in the three shapes that styles know, its scalars as text.
enum Shape {
    Scalar(String),
    List(Vec<String>),
    Record(Vec<(String, String)>),
}

impl Shape {
    fn of(value: &Value) -> Result<Shape, &'static str> {
        Ok(match value {
            Value::Array(items) => Shape::List(items.iter().map(scalar).collect::<Result<_, _>>()?),
            Value::Object(members) => {
                Shape::Record(members.iter().map(|(key, value)| Ok((key.clone(), scalar(value)?))).collect::<Result<
                    _,
                    &'static str,
                >>(
                )?)
            }
            value => Shape::Scalar(scalar(value)?),
        })
    }

    fn texts(&self) -> Vec<&String> {
        match self {
            Shape::Scalar(text) => vec![text],
            Shape::List(items) => items.iter().collect(),
            Shape::Record(members) => members.iter().flat_map(|(key, value)| [key, value]).collect(),
        }
    }
}

fn scalar(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null => Err("null has no form here"),
        Value::Array(_) | Value::Object(_) => Err("arrays and objects inside of others have no form here"),
    }
}

/// Whether a text may stand in a path segment or in a header.
fn check_segment(parameter: &Parameter, text: &str) -> Result<(), &'static str> {
    match parameter.place {
        ParameterPlace::Path => {
            if text.is_empty() {
                return Err("an empty path segment is another path");
            }
            if text == "." || text == ".." {
                return Err("dot segments are removed on the way");
            }
            // Encoded slashes are decoded, refused or merged by many servers and proxies before routing.
            if text.contains(['/', '\\']) {
                return Err("a slash in a path segment does not arrive");
            }
            if text.contains(|letter: char| letter.is_control()) {
                return Err("control characters in a path do not arrive");
            }
        }
        ParameterPlace::Header => {
            if text.is_empty() {
                return Err("an empty header is as good as none");
            }
            if !text.chars().all(|letter| (' '..='~').contains(&letter)) {
                return Err("headers are visible ASCII");
            }
            if text.trim() != text {
                return Err("blanks at the ends of a header are taken away");
            }
        }
        ParameterPlace::Query | ParameterPlace::Cookie => {}
    }
    Ok(())
}

fn content_text(media_type: &str, value: &Value) -> Option<String> {
    if is_json(media_type) {
        Some(value.to_string())
    } else if media_type.starts_with("text/") {
        scalar(value).ok()
    } else {
        None
    }
}

/// Puts a whole text into a parameter's place.
fn place_text(parameter: &Parameter, text: &str) -> Result<WireParameter, &'static str> {
    Ok(match parameter.place {
        ParameterPlace::Path => {
            check_segment(parameter, text)?;
            WireParameter::Path(encode(text, false))
        }
        ParameterPlace::Query => {
            WireParameter::Query(vec![(encode(&parameter.name, false), encode(text, parameter.allow_reserved))])
        }
        ParameterPlace::Header => {
            let ascii = ascii_json(text);
            check_segment(parameter, &ascii)?;
            WireParameter::Header(ascii)
        }
        ParameterPlace::Cookie => WireParameter::Cookie(vec![(parameter.name.clone(), encode(text, false))]),
    })
}

/// JSON with everything outside of ASCII escaped.
fn ascii_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Names and values of a query parameter, a cookie or a form field.
fn encode_pairs(
    (name, place, allow_reserved): (&str, ParameterPlace, bool),
    style: Style,
    explode: bool,
    shape: &Shape,
) -> Result<Vec<(String, String)>, &'static str> {
    let cookie = place == ParameterPlace::Cookie;
    if cookie {
        // RFC 6265, section 4.1.1; whether percent-encoding is taken off again is anybody's guess.
        let legal = |text: &str| {
            text.chars().all(|c| matches!(c, '!' | '#'..='$' | '&'..='+' | '-'..=':' | '<'..='[' | ']'..='~'))
        };
        if !shape.texts().into_iter().all(|text| legal(text)) {
            return Err("a cookie's value is visible ASCII without separators");
        }
        if shape.texts().iter().any(|text| text.is_empty()) {
            return Err("an empty cookie is as good as none");
        }
    }
    let write = |text: &str| if cookie { text.to_owned() } else { encode(text, allow_reserved) };
    let name = if cookie { name.to_owned() } else { encode(name, false) };
    let joined = |items: &[String]| -> Result<String, &'static str> {
        let (delimiter, written) = match style {
            Style::SpaceDelimited => (' ', "%20"),
            Style::PipeDelimited => ('|', "%7C"),
            Style::TabDelimited => ('\t', "%09"),
            _ => (',', ","),
        };
        if items.iter().any(String::is_empty) {
            return Err("an empty item cannot be told from none");
        }
        if items.iter().any(|item| item.contains(delimiter)) {
            return Err("an item has the delimiter in it");
        }
        Ok(items.iter().map(|item| write(item)).collect::<Vec<_>>().join(written))
    };
    Ok(match shape {
        Shape::Scalar(text) => vec![(name, write(text))],
        Shape::List(items) if items.is_empty() && explode => Vec::new(),
        Shape::Record(members) if members.is_empty() && (explode || style == Style::DeepObject) => Vec::new(),
        Shape::List(items) if items.is_empty() => return Err("an empty array has no form here"),
        Shape::Record(members) if members.is_empty() => return Err("an empty object has no form here"),
        Shape::Record(members) if style == Style::DeepObject => members
            .iter()
            .map(|(key, value)| match key.contains(['[', ']']) {
                true => Err("a member's name has a bracket in it"),
                false => Ok((format!("{name}%5B{}%5D", encode(key, false)), write(value))),
            })
            .collect::<Result<_, _>>()?,
        // Frameworks read repeated names, with and without brackets in the name.
        Shape::List(items) if style == Style::DeepObject || explode => {
            if cookie && items.len() > 1 {
                return Err("a cookie's name stands once");
            }
            items.iter().map(|item| (name.clone(), write(item))).collect()
        }
        Shape::List(items) => vec![(name, joined(items)?)],
        Shape::Record(members) if explode => members
            .iter()
            .map(|(key, value)| (if cookie { key.clone() } else { encode(key, false) }, write(value)))
            .collect(),
        Shape::Record(members) => {
            let flat: Vec<String> = members.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect();
            vec![(name, joined(&flat)?)]
        }
    })
}

/// Whether a wire parameter can be read as something valid.
///
/// A server may follow the style to the letter or be generous; so a text is read as string, number, boolean and null, with
/// and without the blanks around it, alone, as an array of one, and split at the style's delimiters.
pub fn decodes_to_valid(parameter: &Parameter, wire: &WireParameter, generator: &Generator) -> bool {
    let mut budget = Budget(400);
    readings(parameter, wire).into_iter().any(|reading| match reading {
        // What is not there breaks nothing, unless it has to be there.
        None => !parameter.required,
        Some(reading) => reading.can_be_valid(generator.engine.validator(), &mut budget),
    })
}

/// Whether a header of an answer can be read as something valid: as the text it is, as a list or as members, typed or not.
pub fn header_can_be_valid(text: &str, validator: &Validator) -> bool {
    let mut budget = Budget(400);
    let readings = delimited_readings(text, &[',', ' ', '|', '\t']);
    readings.into_iter().flatten().any(|reading| reading.can_be_valid(validator, &mut budget))
}

/// What request values of a media type are made from; none if nothing of it can be written from a schema.
///
/// A body of lines is a list of its items; a body without a schema is what its media type says.
pub fn request_schema(media: &Media) -> Option<Schema> {
    let at = || media.at.clone();
    let plain = |value: Value| Some(Schema { value: Arc::new(value), at: at(), origins: None });
    match (Form::of(&media.media_type), &media.schema) {
        (Form::Lines, schema) => {
            let items = media.item_schema.as_ref();
            let list = |schema: &Schema| schema.value.get("type").is_some_and(|kind| kind == "array");
            if let Some(schema) = schema.as_ref().filter(|schema| list(schema)) {
                return Some(schema.clone());
            }
            let Some(items) = items.or(schema.as_ref()) else { return plain(json!({"type": "array"})) };
            // No lines are no body at all; see [`body_decodes_to_valid`].
            let value = json!({"type": "array", "items": *items.value, "minItems": 1});
            let origins = Arc::from([("/items".to_owned(), items.at.clone())]);
            Some(Schema { value: Arc::new(value), at: at(), origins: Some(origins) })
        }
        (_, Some(schema)) => Some(schema.clone()),
        (Form::Json | Form::Anything, None) => plain(json!({})),
        (Form::Text, None) => plain(json!({"type": "string", "minLength": 1})),
        (Form::Octets, None) => plain(json!({"type": "string", "format": "binary", "minLength": 1})),
        (Form::UrlEncoded | Form::Multipart, None) => {
            plain(json!({"type": "object", "additionalProperties": {"type": "string"}}))
        }
    }
}

/// What a wire parameter may mean; `None` for absence.
fn readings(parameter: &Parameter, wire: &WireParameter) -> Vec<Option<Reading>> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    // `+` is a blank to readers of forms and a plus to readers of URIs.
    let decode_query = |text: &str| decode(&text.replace('+', " "));
    let style = match parameter.encoding {
        ParameterEncoding::Style { style, .. } => style,
        ParameterEncoding::Content(_) => {
            let texts: Vec<String> = match wire {
                WireParameter::Path(text) => vec![decode(text)],
                WireParameter::Header(text) => vec![text.clone()],
                WireParameter::Query(pairs) => pairs.iter().map(|(_, value)| decode_query(value)).collect(),
                WireParameter::Cookie(pairs) => pairs.iter().map(|(_, value)| decode(value)).collect(),
            };
            return texts
                .iter()
                .map(|text| match serde_json::from_str(text) {
                    Ok(value) => Some(Reading::Exactly(value)),
                    Err(_) => Some(Reading::Scalar(text.clone())),
                })
                .collect();
        }
    };
    let mut found = Vec::new();
    match wire {
        WireParameter::Path(raw) => {
            let text = decode(raw);
            let stripped = match style {
                Style::Label => text.strip_prefix('.').unwrap_or(&text).to_owned(),
                _ => text.clone(),
            };
            found.extend(delimited_readings(&stripped, &[',', '.', ';', ' ', '|', '\t']));
            if style == Style::Matrix {
                let pairs: Vec<(String, String)> = text
                    .split(';')
                    .filter(|piece| !piece.is_empty())
                    .map(|piece| {
                        piece.split_once('=').map_or((piece.to_owned(), String::new()), |(k, v)| (k.into(), v.into()))
                    })
                    .collect();
                found.extend(pair_readings(&parameter.name, &pairs));
            }
        }
        WireParameter::Header(text) => found.extend(delimited_readings(text, &[',', ' ', '|', '\t'])),
        WireParameter::Query(pairs) | WireParameter::Cookie(pairs) => {
            let read =
                |text: &str| if matches!(wire, WireParameter::Query(_)) { decode_query(text) } else { decode(text) };
            if pairs.is_empty() {
                found.push(None);
            }
            let pairs: Vec<(String, String)> = pairs.iter().map(|(name, value)| (decode(name), read(value))).collect();
            found.extend(pair_readings(&parameter.name, &pairs));
        }
    }
    found
}

/// Readings of names and values: repeated values, brackets, members as names of their own.
fn pair_readings(name: &str, pairs: &[(String, String)]) -> Vec<Option<Reading>> {
    let mut found = Vec::new();
    let own: Vec<&String> = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
    for value in &own {
        found.extend(delimited_readings(value, &[',', ' ', '|', '\t']));
    }
    if own.is_empty() {
        // A reader that looks for the name alone does not find it.
        found.push(None);
    } else {
        found.push(Some(Reading::List(own.iter().map(|value| Reading::Scalar((*value).clone())).collect())));
    }
    let deep: Vec<(String, Reading)> = pairs
        .iter()
        .filter_map(|(key, value)| {
            let key = key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?;
            Some((key.to_owned(), Reading::Scalar(value.clone())))
        })
        .collect();
    if !deep.is_empty() {
        found.push(Some(Reading::Record(deep)));
    }
    let members = pairs.iter().map(|(key, value)| (key.clone(), Reading::Scalar(value.clone()))).collect();
    found.push(Some(Reading::Record(members)));
    found
}

/// Readings of one text: whole, and split at each delimiter into a list and into a record.
fn delimited_readings(text: &str, delimiters: &[char]) -> Vec<Option<Reading>> {
    let mut found =
        vec![Some(Reading::Scalar(text.to_owned())), Some(Reading::List(vec![Reading::Scalar(text.to_owned())]))];
    if text.trim().is_empty() {
        found.extend([None, Some(Reading::List(Vec::new())), Some(Reading::Record(Vec::new()))]);
    }
    for delimiter in delimiters {
        let pieces: Vec<&str> = text.split(*delimiter).map(str::trim).collect();
        if pieces.len() > 1 {
            found.push(Some(Reading::List(pieces.iter().map(|piece| Reading::Scalar((*piece).to_owned())).collect())));
        }
        if pieces.len().is_multiple_of(2) {
            let members =
                pieces.chunks(2).map(|pair| (pair[0].to_owned(), Reading::Scalar(pair[1].to_owned()))).collect();
            found.push(Some(Reading::Record(members)));
        }
        let named: Option<Vec<(String, Reading)>> = pieces
            .iter()
            .map(|piece| piece.split_once('=').map(|(key, value)| (key.to_owned(), Reading::Scalar(value.to_owned()))))
            .collect();
        found.extend(named.filter(|named| !named.is_empty()).map(|named| Some(Reading::Record(named))));
    }
    found
}

/// How many values may be judged for one question; wire texts are short, and a question with more meanings than this is
/// answered on the safe side.
struct Budget(u32);

/// A wire text with its structure read and its types still open.
enum Reading {
    Exactly(Value),
    Scalar(String),
    List(Vec<Reading>),
    Record(Vec<(String, Reading)>),
}

/// A text whose type is open: where it stands, and what it may be.
struct Slot {
    pointer: String,
    meanings: Vec<Value>,
    current: usize,
}

impl Reading {
    /// Whether some choice of types is valid.
    fn can_be_valid(self, validator: &Validator, budget: &mut Budget) -> bool {
        let mut slots = Vec::new();
        let mut value = self.lay_out(String::new(), &mut slots);
        // One slot at a time: the errors tell which text was taken for the wrong type.
        loop {
            if budget.0 == 0 {
                return true;
            }
            budget.0 -= 1;
            let error = {
                let mut errors = validator.iter_errors(&value);
                match errors.next() {
                    None => return true,
                    Some(error) => error.instance_path().to_string(),
                }
            };
            let exact =
                slots.iter().position(|slot| error == slot.pointer || error.starts_with(&format!("{}/", slot.pointer)));
            match exact {
                Some(index) => {
                    let slot = &mut slots[index];
                    slot.current += 1;
                    let Some(meaning) = slot.meanings.get(slot.current) else { return false };
                    match value.pointer_mut(&slot.pointer) {
                        Some(place) => *place = meaning.clone(),
                        None => return false,
                    }
                }
                // The error is of something around the texts; their types may decide it together.
                None => return all_together(&mut value, &mut slots, &error, validator, budget),
            }
        }
    }

    fn lay_out(self, pointer: String, slots: &mut Vec<Slot>) -> Value {
        match self {
            Reading::Exactly(value) => value,
            Reading::Scalar(text) => {
                let meanings = meanings(&text);
                let first = meanings.first().cloned().unwrap_or(Value::Null);
                slots.push(Slot { pointer, meanings, current: 0 });
                first
            }
            Reading::List(items) => Value::Array(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| item.lay_out(format!("{pointer}/{index}"), slots))
                    .collect(),
            ),
            Reading::Record(members) => {
                let mut map = Map::new();
                for (key, member) in members {
                    let place = format!("{pointer}/{}", escape(&key));
                    // A name that stands twice is a list to some and its last value to others; the last is enough here.
                    slots.retain(|slot| slot.pointer != place);
                    let value = member.lay_out(place, slots);
                    map.insert(key, value);
                }
                Value::Object(map)
            }
        }
    }
}

/// Tries the texts under a place in all types, each with each.
fn all_together(value: &mut Value, slots: &mut [Slot], at: &str, validator: &Validator, budget: &mut Budget) -> bool {
    let under: Vec<usize> = (0..slots.len())
        .filter(|index| slots[*index].pointer == at || slots[*index].pointer.starts_with(&format!("{at}/")))
        .filter(|index| slots[*index].meanings.len() > 1)
        .collect();
    let combinations: usize = under.iter().map(|index| slots[*index].meanings.len()).fold(1, usize::saturating_mul);
    for number in 0..combinations {
        if budget.0 == 0 {
            return true;
        }
        budget.0 -= 1;
        let mut rest = number;
        for index in &under {
            let slot = &slots[*index];
            if let (Some(place), meaning) =
                (value.pointer_mut(&slot.pointer), &slot.meanings[rest % slot.meanings.len()])
            {
                *place = meaning.clone();
            }
            rest /= slot.meanings.len();
        }
        if validator.is_valid(value) {
            return true;
        }
    }
    false
}

/// Everything that a text may mean.
fn meanings(text: &str) -> Vec<Value> {
    let mut found = vec![Value::String(text.to_owned())];
    let trimmed = text.trim();
    let plain = trimmed.strip_prefix('+').unwrap_or(trimmed);
    if let Ok(number) = plain.parse::<i64>() {
        found.push(number.into());
    } else if let Ok(number) = plain.parse::<u64>() {
        found.push(number.into());
    } else if let Some(number) = plain.parse::<f64>().ok().and_then(Number::from_f64) {
        let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15);
        found.push(whole.map_or(Value::Number(number), |whole| (whole as i64).into()));
    }
    match trimmed.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" | "t" | "y" => found.push(true.into()),
        "false" | "0" | "off" | "no" | "f" | "n" => found.push(false.into()),
        "null" | "" => found.push(Value::Null),
        _ => {}
    }
    if trimmed.starts_with(['{', '['])
        && let Ok(value) = serde_json::from_str(trimmed)
    {
        found.push(value);
    }
    if trimmed != text {
        found.push(Value::String(trimmed.to_owned()));
    }
    found
}

/// Writes a body in its media type.
///
/// JSON takes every value; forms take objects; `text/*` takes scalars; octets take strings; NDJSON takes arrays. Files are
/// strings: see [`FileValue`].
pub fn encode_body(media: &Media, value: &Value) -> Result<EncodedBody, NotEncodable> {
    let refuse =
        |reason: &str| NotEncodable { what: format!("the `{}` body", media.media_type), reason: reason.to_owned() };
    let plain =
        |content_type: &str, bytes: Vec<u8>| EncodedBody { content_type: content_type.to_owned(), bytes: bytes.into() };
    let json = |content_type: &str| {
        serde_json::to_vec(value).map(|bytes| plain(content_type, bytes)).map_err(|error| refuse(&error.to_string()))
    };
    match Form::of(&media.media_type) {
        Form::Json => json(&media.media_type),
        Form::Anything if value.is_string() && file_like(media) => Ok(octets("application/octet-stream", value)),
        Form::Anything => json("application/json"),
        Form::Lines => {
            let lines = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            let mark = if media.media_type == "application/json-seq" { "\u{1e}" } else { "" };
            let text: String = lines.iter().map(|line| format!("{mark}{line}\n")).collect();
            Ok(plain(&media.media_type, text.into_bytes()))
        }
        Form::UrlEncoded => {
            encode_form(media, value).map(|text| plain(&media.media_type, text.into_bytes())).map_err(refuse)
        }
        Form::Multipart => encode_multipart(media, value).map_err(refuse),
        Form::Text => {
            let text = scalar(value).map_err(refuse)?;
            let content_type = if media.media_type == "text/*" { "text/plain" } else { &media.media_type };
            Ok(plain(&format!("{content_type}; charset=utf-8"), text.into_bytes()))
        }
        Form::Octets if value.is_string() => Ok(octets(&media.media_type, value)),
        Form::Octets => Err(refuse("only a string can be octets")),
    }
}

/// How a media type writes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    UrlEncoded,
    Multipart,
    Text,
    Octets,
    Anything,
}

impl Form {
    fn of(media_type: &str) -> Form {
        match media_type {
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/json-seq"
            | "application/x-jsonlines" => Form::Lines,
            "application/x-www-form-urlencoded" => Form::UrlEncoded,
            "*/*" | "application/*" => Form::Anything,
            other if is_json(other) => Form::Json,
            other if other.starts_with("multipart/") => Form::Multipart,
            other if other.starts_with("text/") => Form::Text,
            _ => Form::Octets,
        }
    }
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json")
}

/// Whether a media's own schema speaks of a file.
fn file_like(media: &Media) -> bool {
    media.schema.as_ref().is_none_or(|schema| is_binary(&schema.value))
}

fn is_binary(schema: &Value) -> bool {
    schema.get("format").and_then(Value::as_str) == Some("binary") || schema.get("contentMediaType").is_some()
}

fn octets(content_type: &str, value: &Value) -> EncodedBody {
    let text = value.as_str().unwrap_or_default();
    if let Some(file) = FileValue::from_text(text) {
        return EncodedBody { content_type: file.media_type, bytes: file.content.into() };
    }
    let file = FileValue::made(content_type, text);
    EncodedBody { content_type: file.media_type, bytes: file.content.into() }
}

/// RFC 1866 as the URL standard has it: blanks are `+`.
fn form_text(text: &str) -> String {
    encode(text, false).replace("%20", "+").replace('~', "%7E")
}

/// Members as pairs. A member is written in its style, if the document gives one; else arrays repeat their name, and what
/// has no form of its own is JSON (OpenAPI 3.1, "Support for x-www-form-urlencoded Request Bodies").
fn encode_form(media: &Media, value: &Value) -> Result<String, &'static str> {
    let members = value.as_object().ok_or("only an object can be a form")?;
    let mut pairs = Vec::new();
    for (name, value) in members {
        if let Some(ParameterEncoding::Style { style, explode }) = media.part_styles.get(name) {
            let written = encode_pairs((name, ParameterPlace::Query, false), *style, *explode, &Shape::of(value)?)?;
            pairs.extend(written.into_iter().map(|(name, value)| format!("{name}={value}")));
            continue;
        }
        let json = media.part_types.get(name).is_some_and(|types| types.first().is_some_and(|first| is_json(first)));
        let items = match value {
            Value::Array(items) if !json => items.as_slice(),
            whole => std::slice::from_ref(whole),
        };
        for item in items {
            let text = match item {
                Value::Array(_) | Value::Object(_) => item.to_string(),
                item if json => item.to_string(),
                Value::Null => return Err("null has no form here"),
                item => scalar(item)?,
            };
            pairs.push(format!("{}={}", form_text(name), form_text(&text)));
        }
    }
    Ok(pairs.join("&"))
}

fn encode_multipart(media: &Media, value: &Value) -> Result<EncodedBody, &'static str> {
    let members = value.as_object().ok_or("only an object can be a multipart body")?;
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    let no_types = Vec::new();
    for (name, value) in members {
        let types = media.part_types.get(name).unwrap_or(&no_types);
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        // A part that is JSON holds the array; any other type has one part per item.
        let items = if value.is_array() && types.first().is_some_and(|first| is_json(first)) {
            std::slice::from_ref(value)
        } else {
            items
        };
        for item in items {
            parts.push(part(media, name, item, types)?);
        }
    }
    // The boundary may not stand in a part; counting up keeps it a function of the content.
    let holds = |boundary: &str| {
        parts.iter().any(|(_, body)| body.windows(boundary.len()).any(|window| window == boundary.as_bytes()))
    };
    let boundary =
        (0..).map(|number| format!("trueline-part-{number:04}")).find(|boundary| !holds(boundary)).unwrap_or_default();
    let mut bytes = Vec::new();
    for (head, body) in &parts {
        bytes.extend_from_slice(format!("--{boundary}\r\n{head}\r\n").as_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(EncodedBody { content_type: format!("{}; boundary={boundary}", media.media_type), bytes: bytes.into() })
}

/// Header block and content of one part.
fn part(media: &Media, name: &str, value: &Value, types: &[String]) -> Result<(String, Vec<u8>), &'static str> {
    // WHATWG HTML, "multipart/form-data encoding algorithm".
    let quoted = |text: &str| text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let disposition = if media.media_type == "multipart/form-data" { "form-data" } else { "attachment" };
    let preferred = types.first().map_or("", String::as_str);
    let file = match value {
        Value::String(text) => {
            FileValue::from_text(text).or_else(|| is_file(media, name, types).then(|| FileValue::made(preferred, text)))
        }
        _ => None,
    };
    if let Some(file) = file {
        let head = format!(
            "Content-Disposition: {disposition}; name=\"{}\"; filename=\"{}\"\r\nContent-Type: {}\r\n",
            quoted(name),
            quoted(&file.name),
            file.media_type
        );
        return Ok((head, file.content));
    }
    let head = format!("Content-Disposition: {disposition}; name=\"{}\"\r\n", quoted(name));
    match value {
        Value::Null => Err("null has no form here"),
        Value::Array(_) | Value::Object(_) => {
            Ok((format!("{head}Content-Type: application/json\r\n"), value.to_string().into_bytes()))
        }
        value if is_json(preferred) && types.len() == 1 => {
            Ok((format!("{head}Content-Type: {preferred}\r\n"), value.to_string().into_bytes()))
        }
        value => Ok((head, scalar(value)?.into_bytes())),
    }
}

/// Whether a part is a file: its schema says so, or it has a type that no plain field has.
fn is_file(media: &Media, name: &str, types: &[String]) -> bool {
    let schema = media.schema.as_ref().and_then(|schema| schema.value.get("properties")?.get(name));
    let array_items = schema.and_then(|schema| schema.get("items"));
    if schema.is_some_and(is_binary) || array_items.is_some_and(is_binary) {
        return true;
    }
    types.len() > 1 || types.first().is_some_and(|first| first != "text/plain" && !is_json(first))
}

/// Whether the body that a value becomes can be read as something valid.
///
/// JSON keeps types, so there it is the value itself that decides. Forms and text do not: a field `5` is a number to one
/// reader and a string to another, and a negative case is a case only if no reading is valid.
pub fn body_decodes_to_valid(media: &Media, value: &Value, generator: &Generator) -> bool {
    let mut budget = Budget(400);
    let validator = generator.engine.validator();
    match Form::of(&media.media_type) {
        Form::Json | Form::Anything => generator.is_valid(value),
        // A single value is a line by itself, and no lines are no body: whether that is a list of none, nobody says.
        Form::Lines => match value {
            Value::Array(lines) if lines.is_empty() => true,
            Value::Array(_) => generator.is_valid(value),
            line => generator.is_valid(line) || generator.is_valid(&Value::Array(vec![line.clone()])),
        },
        Form::Text if media.schema.is_none() => true,
        Form::Text => scalar(value).is_ok_and(|text| Reading::Scalar(text).can_be_valid(validator, &mut budget)),
        // What the document says nothing of cannot be wrong.
        Form::Octets if media.schema.is_none() => true,
        Form::Octets => generator.is_valid(value),
        Form::UrlEncoded | Form::Multipart => {
            let Value::Object(members) = value else { return generator.is_valid(value) };
            // An empty array is no field at all.
            let present = members.iter().filter(|(_, value)| !value.as_array().is_some_and(Vec::is_empty));
            let flat: Vec<(String, Reading)> =
                present.map(|(name, value)| (name.clone(), field(value, false))).collect();
            if Reading::Record(flat).can_be_valid(validator, &mut budget) {
                return true;
            }
            // What a part holds is text to who expects a text, and bytes to who expects a file.
            let present = members.iter().filter(|(_, value)| !value.as_array().is_some_and(Vec::is_empty));
            let texts: Vec<(String, Reading)> = present
                .map(|(name, value)| {
                    let types = media.part_types.get(name).map_or(&[][..], Vec::as_slice);
                    let text = match value {
                        _ if is_file(media, name, types) && !value.is_array() => String::new(),
                        Value::Object(_) => value.to_string(),
                        value => return (name.clone(), field(value, false)),
                    };
                    (name.clone(), Reading::Scalar(text))
                })
                .collect();
            if Reading::Record(texts).can_be_valid(validator, &mut budget) {
                return true;
            }
            // A field alone may be an array of one, an array of one a field alone.
            let present = members.iter().filter(|(_, value)| !value.as_array().is_some_and(Vec::is_empty));
            let listed: Vec<(String, Reading)> = present
                .map(|(name, value)| {
                    let single = !value.is_array();
                    (
                        name.clone(),
                        if single && expects_array(generator, name) {
                            Reading::List(vec![field(value, true)])
                        } else {
                            field(value, true)
                        },
                    )
                })
                .collect();
            Reading::Record(listed).can_be_valid(validator, &mut budget)
        }
    }
}

fn field(value: &Value, lone: bool) -> Reading {
    match value {
        Value::Array(items) if lone && items.len() == 1 => field(&items[0], false),
        Value::Array(items) => Reading::List(items.iter().map(|item| field(item, false)).collect()),
        // JSON in a field is a text to who expects one.
        Value::Object(_) => Reading::Scalar(value.to_string()),
        Value::Null => Reading::Exactly(value.clone()),
        value => Reading::Scalar(scalar(value).unwrap_or_default()),
    }
}

/// Whether an object's member is an array in the plainest full value.
fn expects_array(generator: &Generator, name: &str) -> bool {
    generator.maximal().get(name).is_some_and(Value::is_array)
}

/// Values of a multipart body with one part of a type that is not allowed there, made from a valid value.
pub fn wrong_part_types(media: &Media, value: &Value) -> Vec<Boundary> {
    let mut found = Vec::new();
    let (true, Value::Object(members)) = (media.media_type.starts_with("multipart/"), value) else { return found };
    for (name, types) in &media.part_types {
        let allows = |kind: &str| {
            types.iter().any(|known| {
                known == kind
                    || known == "*/*"
                    || known.strip_suffix('*').is_some_and(|family| kind.starts_with(family))
            })
        };
        // `application/octet-stream` is what senders say that do not know better; it promises nothing.
        let open = types.iter().any(|known| known == "application/octet-stream");
        let Some(current) = members.get(name).filter(|_| is_file(media, name, types) && !open) else { continue };
        for kind in ["application/x-msdownload", "image/png", "application/pdf"]
            .into_iter()
            .filter(|kind| !allows(kind))
            .take(2)
        {
            let file =
                Value::String(FileValue { media_type: kind.into(), ..FileValue::made(kind, "MZ sample") }.to_text());
            let part = if current.is_array() { Value::Array(vec![file]) } else { file };
            let mut members = members.clone();
            members.insert(name.clone(), part);
            let fault = Fault {
                instance: format!("/{}", escape(name)),
                schema: format!("/encoding/{}/contentType", escape(name)),
                keyword: "contentType".into(),
                kind: FaultKind::MediaType,
            };
            found.push(Boundary {
                value: Value::Object(members),
                verdict: Verdict::Invalid(fault),
                label: format!("{}/contentType/{}", escape(name), kind.replace('/', ".")),
            });
        }
    }
    found
}

impl fmt::Display for WireParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = |f: &mut fmt::Formatter<'_>, pairs: &[(String, String)], separator: &str| {
            for (index, (name, value)) in pairs.iter().enumerate() {
                write!(f, "{}{name}={value}", if index > 0 { separator } else { "" })?;
            }
            Ok(())
        };
        match self {
            WireParameter::Path(text) | WireParameter::Header(text) => f.write_str(text),
            WireParameter::Query(list) => pairs(f, list, "&"),
            WireParameter::Cookie(list) => pairs(f, list, "; "),
        }
    }
}
