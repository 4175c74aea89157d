//! From text to JSON values, by a parameter's own style rules (OpenAPI 3.1, "Parameter Object").
//!
//! Text that is not of the kind that its schema asks for stays a string: the schema then says what it must be.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Number, Value};

use crate::contract::{Kind, Parameter, Style};

/// Text that cannot be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not UTF-8 once its escapes are resolved.
    NotUtf8,
    /// It stands more than once, and has one value.
    Repeated,
    /// It is not a JSON text.
    NotJson,
}

impl Unreadable {
    /// A text for people that reads after the parameter's name.
    pub fn message(self) -> &'static str {
        match self {
            Unreadable::NotUtf8 => "must be UTF-8",
            Unreadable::Repeated => "must not be repeated",
            Unreadable::NotJson => "must be JSON",
        }
    }
}

/// A query string, cut into names and values; the names are decoded, the values are as they were sent.
#[derive(Debug, Default)]
pub struct Pairs<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Pairs<'a> {
    /// Cuts `application/x-www-form-urlencoded` text. A pair whose name is not UTF-8 is nobody's and is left out.
    pub fn parse(text: &'a str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode_form(name).ok()?, value))
        });
        Pairs(pairs.collect())
    }

    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.0.iter().filter(move |(candidate, _)| candidate == name).map(|(_, value)| *value)
    }

    /// The value of a parameter, or `None` if it is absent.
    pub fn read(&self, parameter: &Parameter) -> Result<Option<Value>, Unreadable> {
        self.read_as(parameter.name, parameter.style, parameter.explode, &parameter.kind)
    }

    fn read_as(&self, name: &str, style: Style, explode: bool, kind: &Kind) -> Result<Option<Value>, Unreadable> {
        match (kind, style) {
            (_, Style::Json) => match self.single(name)? {
                Some(text) => json(&decode_form(text)?).map(Some),
                None => Ok(None),
            },
            (Kind::Object(properties, others), Style::DeepObject) => {
                let mut object = Map::new();
                for (key, value) in &self.0 {
                    let inner = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'));
                    let Some(property) = inner else { continue };
                    let kind = property_kind(properties, *others, property);
                    let text = decode_form(value)?;
                    match (object.get_mut(property), kind) {
                        (Some(Value::Array(items)), Kind::Array(item)) => items.push(scalar(item, &text)),
                        (Some(_), _) => return Err(Unreadable::Repeated),
                        (None, Kind::Array(item)) => {
                            object.insert(property.to_owned(), Value::Array(vec![scalar(item, &text)]));
                        }
                        (None, kind) => {
                            object.insert(property.to_owned(), scalar(kind, &text));
                        }
                    }
                }
                Ok((!object.is_empty()).then_some(Value::Object(object)))
            }
            (Kind::Object(properties, _), _) if explode => {
                let mut object = Map::new();
                for (property, kind) in *properties {
                    if let Some(value) = self.read_as(property, Style::Form, true, kind)? {
                        object.insert((*property).to_owned(), value);
                    }
                }
                Ok((!object.is_empty()).then_some(Value::Object(object)))
            }
            (Kind::Array(item), _) if explode => {
                let items = self.values(name).map(|text| Ok(scalar(item, &decode_form(text)?)));
                let items = items.collect::<Result<Vec<_>, _>>()?;
                Ok((!items.is_empty()).then_some(Value::Array(items)))
            }
            (Kind::Array(_) | Kind::Object(..), _) => match self.single(name)? {
                Some(text) => delimited(kind, &pieces(text, style)?).map(Some),
                None => Ok(None),
            },
            (kind, _) => match self.single(name)? {
                Some(text) => Ok(Some(scalar(kind, &decode_form(text)?))),
                None => Ok(None),
            },
        }
    }

    fn single(&self, name: &str) -> Result<Option<&'a str>, Unreadable> {
        let mut values = self.values(name);
        let first = values.next();
        if values.next().is_some() { Err(Unreadable::Repeated) } else { Ok(first) }
    }

    /// A body of `application/x-www-form-urlencoded`: an object with the properties that are there.
    pub fn read_form(&self, properties: &[(&'static str, Kind)]) -> Result<Value, (String, Unreadable)> {
        let mut object = Map::new();
        for (name, kind) in properties {
            if let Some(value) =
                self.read_as(name, Style::Form, true, kind).map_err(|error| ((*name).to_owned(), error))?
            {
                object.insert((*name).to_owned(), value);
            }
        }
        for (name, value) in &self.0 {
            if !properties.iter().any(|(known, _)| known == name) {
                let text = decode_form(value).map_err(|error| (name.to_string(), error))?;
                object.insert(name.to_string(), Value::from(text.as_ref()));
            }
        }
        Ok(Value::Object(object))
    }
}

/// The pieces of a delimited value, each decoded after the cut, so that an escaped delimiter is part of a value.
fn pieces(text: &str, style: Style) -> Result<Vec<Cow<'_, str>>, Unreadable> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    match style {
        Style::SpaceDelimited => cut(text, &["%20", "+"]),
        Style::PipeDelimited => cut(text, &["|", "%7C", "%7c"]),
        _ => cut(text, &[","]),
    }
}

fn cut<'a>(text: &'a str, delimiters: &[&str]) -> Result<Vec<Cow<'a, str>>, Unreadable> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let next = delimiters.iter().filter_map(|delimiter| Some((rest.find(delimiter)?, delimiter.len()))).min();
        match next {
            Some((at, length)) => {
                pieces.push(decode_form(&rest[..at])?);
                rest = &rest[at + length..];
            }
            None => {
                pieces.push(decode_form(rest)?);
                return Ok(pieces);
            }
        }
    }
}

/// Items, or names and values in turn.
fn delimited(kind: &Kind, pieces: &[Cow<'_, str>]) -> Result<Value, Unreadable> {
    Ok(match kind {
        Kind::Array(item) => pieces.iter().map(|piece| scalar(item, piece)).collect(),
        Kind::Object(properties, others) => {
            let mut object = Map::new();
            for pair in pieces.chunks(2) {
                let value = pair.get(1).map_or("", AsRef::as_ref);
                object.insert(pair[0].to_string(), scalar(property_kind(properties, *others, &pair[0]), value));
            }
            Value::Object(object)
        }
        kind => scalar(kind, pieces.first().map_or("", AsRef::as_ref)),
    })
}

fn property_kind<'a>(properties: &'a [(&'static str, Kind)], others: Option<&'a Kind>, name: &str) -> &'a Kind {
    properties.iter().find(|(known, _)| *known == name).map(|(_, kind)| kind).or(others).unwrap_or(&Kind::String)
}

/// A path parameter's or header's value in style `simple`; `text` is decoded already.
pub fn simple(parameter: &Parameter, text: &str) -> Result<Value, Unreadable> {
    match (&parameter.kind, parameter.style) {
        (_, Style::Json) => json(text),
        (kind @ (Kind::Array(_) | Kind::Object(..)), _) => {
            let pieces: Vec<Cow<'_, str>> = match text {
                "" => Vec::new(),
                text => text.split(',').map(|piece| Cow::Borrowed(piece.trim())).collect(),
            };
            if let (Kind::Object(..), true) = (kind, parameter.explode) {
                let pairs: Vec<Cow<'_, str>> = pieces
                    .iter()
                    .flat_map(|piece| {
                        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
                        [Cow::Owned(name.to_owned()), Cow::Owned(value.to_owned())]
                    })
                    .collect();
                return delimited(kind, &pairs);
            }
            delimited(kind, &pieces)
        }
        (kind, _) => Ok(scalar(kind, text)),
    }
}

/// One value of a `Cookie` header.
pub fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header
        .split(';')
        .find_map(|pair| pair.trim().split_once('=').filter(|(candidate, _)| *candidate == name))
        .map(|(_, value)| value)
}

/// One value; what is not of its kind stays a string.
pub fn scalar(kind: &Kind, text: &str) -> Value {
    let read = match kind {
        Kind::String | Kind::File | Kind::Array(_) | Kind::Object(..) => None,
        Kind::Boolean => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Integer => integer(text),
        Kind::Number => integer(text).or_else(|| number(text)),
        Kind::Json => json(text).ok(),
    };
    read.unwrap_or_else(|| Value::from(text))
}

/// A decimal integer as JSON writes it: no plus sign, no leading zeros, no exponent.
fn integer(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    let small = text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from));
    small.ok().or_else(|| Number::from_f64(text.parse().ok()?).map(Value::Number))
}

fn number(text: &str) -> Option<Value> {
    let like_json = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    serde_json::from_str::<Number>(text).ok().filter(|_| like_json).map(Value::Number)
}

fn json(text: &str) -> Result<Value, Unreadable> {
    crate::json::parse(text.as_bytes()).map_err(|_| Unreadable::NotJson)
}

/// Resolves `%20` and `+`.
fn decode_form(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    if !text.contains('+') {
        return decode_path(text);
    }
    let spaced = text.replace('+', " ");
    decode_path(&spaced).map(|text| Cow::Owned(text.into_owned()))
}

/// Resolves `%20`.
pub fn decode_path(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    percent_decode_str(text).decode_utf8().map_err(|_| Unreadable::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Place;
    use serde_json::json;

    fn parameter(style: Style, explode: bool, kind: Kind) -> Parameter {
        Parameter { name: "p", place: Place::Query, required: false, style, explode, kind, schema: 0, not_found: None }
    }

    #[track_caller]
    fn query(text: &str, style: Style, explode: bool, kind: Kind) -> Result<Option<Value>, Unreadable> {
        Pairs::parse(text).read(&parameter(style, explode, kind))
    }

    const TEXTS: Kind = Kind::Array(&Kind::String);
    const NUMBERS: Kind = Kind::Array(&Kind::Integer);
    const POINT: Kind = Kind::Object(&[("x", Kind::Integer), ("tags", TEXTS)], Some(&Kind::String));

    #[test]
    fn scalars_are_read_by_kind() {
        let cases: [(&str, Kind, Value); 14] = [
            ("12", Kind::Integer, json!(12)),
            ("-0", Kind::Integer, json!(0)),
            ("+12", Kind::Integer, json!("+12")),
            ("012", Kind::Integer, json!("012")),
            ("1e3", Kind::Integer, json!("1e3")),
            ("0x10", Kind::Integer, json!("0x10")),
            (" 1", Kind::Integer, json!(" 1")),
            ("", Kind::Integer, json!("")),
            ("1.5", Kind::Number, json!(1.5)),
            ("1e3", Kind::Number, json!(1000.0)),
            ("NaN", Kind::Number, json!("NaN")),
            ("true", Kind::Boolean, json!(true)),
            ("True", Kind::Boolean, json!("True")),
            ("{\"a\":1}", Kind::Json, json!({"a": 1})),
        ];
        for (text, kind, expected) in cases {
            assert_eq!(scalar(&kind, text), expected, "{text:?}");
        }
        assert_eq!(
            scalar(&Kind::Integer, "99999999999999999999"),
            json!(1e20),
            "too large for 64 bits, still a number"
        );
    }

    #[test]
    fn queries_are_read_by_style() {
        use Style::{DeepObject, Form, PipeDelimited, SpaceDelimited};
        assert_eq!(query("a=1", Form, true, Kind::String), Ok(None));
        assert_eq!(query("p=", Form, true, Kind::String), Ok(Some(json!(""))));
        assert_eq!(query("p", Form, true, Kind::String), Ok(Some(json!(""))));
        assert_eq!(query("p=a+b%20c%2B", Form, true, Kind::String), Ok(Some(json!("a b c+"))));
        assert_eq!(query("%70=1", Form, true, Kind::Integer), Ok(Some(json!(1))));
        assert_eq!(query("p=a&p=b", Form, true, TEXTS), Ok(Some(json!(["a", "b"]))));
        assert_eq!(query("p=a,b%2Cc", Form, false, TEXTS), Ok(Some(json!(["a", "b,c"]))));
        assert_eq!(query("p=", Form, false, TEXTS), Ok(Some(json!([]))));
        assert_eq!(query("p=1%202+3", SpaceDelimited, false, NUMBERS), Ok(Some(json!([1, 2, 3]))));
        assert_eq!(query("p=1|2%7C3", PipeDelimited, false, NUMBERS), Ok(Some(json!([1, 2, 3]))));
        assert_eq!(
            query("p[x]=1&p[tags]=a&p[tags]=b&p[z]=9&q[x]=3", DeepObject, true, POINT),
            Ok(Some(json!({"x": 1, "tags": ["a", "b"], "z": "9"})))
        );
        assert_eq!(query("x=1&tags=a&y=2", Form, true, POINT), Ok(Some(json!({"x": 1, "tags": ["a"]}))));
        assert_eq!(query("p=x,1,y,2", Form, false, POINT), Ok(Some(json!({"x": 1, "y": "2"}))));
        assert_eq!(query("p=%7B%22x%22:1%7D", Style::Json, true, Kind::Json), Ok(Some(json!({"x": 1}))));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        assert_eq!(query("p=%ff", Style::Form, true, Kind::String), Err(Unreadable::NotUtf8));
        assert_eq!(query("p=1&p=2", Style::Form, true, Kind::Integer), Err(Unreadable::Repeated));
        assert_eq!(query("p={", Style::Json, true, Kind::Json), Err(Unreadable::NotJson));
        assert_eq!(query("p[x]=1&p[x]=2", Style::DeepObject, true, POINT), Err(Unreadable::Repeated));
    }

    #[test]
    fn headers_and_paths_are_simple() {
        assert_eq!(simple(&parameter(Style::Simple, false, NUMBERS), "1, 2,3"), Ok(json!([1, 2, 3])));
        assert_eq!(simple(&parameter(Style::Simple, false, POINT), "x,1"), Ok(json!({"x": 1})));
        assert_eq!(simple(&parameter(Style::Simple, true, POINT), "x=1,y=2"), Ok(json!({"x": 1, "y": "2"})));
        assert_eq!(cookie("a=1; b=2=3", "b"), Some("2=3"));
        assert_eq!(cookie("a=1; b=2", "c"), None);
    }
}
