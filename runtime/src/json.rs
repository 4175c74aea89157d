//! JSON texts of strangers (RFC 8259), read strictly: one value, UTF-8, no key twice, bounded depth.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A text that is not one JSON value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Reads one value.
///
/// Whole numbers are integers however they are written (`1.0` and `1e2` are, JSON Schema 2020-12 section 4.2.3), as far
/// as a double holds them exactly. The depth is bounded by `serde_json` at 128.
///
/// # Errors
///
/// If the text is not UTF-8, is not JSON, goes on after the value, nests deeper, or an object has a key twice.
pub fn parse(text: &[u8]) -> Result<Value, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict.deserialize(&mut deserializer).map_err(|error| Malformed(describe(&error)))?;
    deserializer.end().map_err(|error| Malformed(describe(&error)))?;
    Ok(value)
}

fn describe(error: &serde_json::Error) -> String {
    if error.is_eof() { "ends too early".to_owned() } else { error.to_string() }
}

/// Below this a double has no gaps between whole numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        if number.fract() == 0.0 && number.abs() < EXACT {
            return Ok(Value::Number((number as i64).into()));
        }
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(Strict)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("an object has the same key twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(text: &[u8]) -> String {
        parse(text).expect_err("malformed").to_string()
    }

    #[test]
    fn reads_values_and_makes_whole_numbers_integers() {
        assert_eq!(
            parse(br#"{"a":[1.0,1e2,0.5,-0.0,null,true,"x"]}"#),
            Ok(json!({"a": [1, 100, 0.5, 0, null, true, "x"]}))
        );
        assert!(parse(b"9007199254740993.0").is_ok_and(|value| value.is_f64()), "gaps stay doubles");
        assert_eq!(parse(b" 18446744073709551615 "), Ok(json!(18_446_744_073_709_551_615_u64)));
    }

    #[test]
    fn refuses_what_is_not_one_value() {
        assert!(error(br#"{"a":1,"a":2}"#).contains("same key twice"));
        assert!(error(br#"{"a":{"b":1,"b":1}}"#).contains("same key twice"));
        assert!(error(b"{} {}").contains("trailing"));
        assert_eq!(error(b""), "ends too early");
        assert_eq!(error(b"{\"a\""), "ends too early");
        assert!(!error(b"\"\xff\"").is_empty(), "not UTF-8");
        assert!(!error(b"\"\x00\"").is_empty(), "a raw NUL");
        assert!(!error(b"\xef\xbb\xbf{}").is_empty(), "a byte order mark");
        assert!(!error(b"[NaN]").is_empty());
        assert!(!error(b"1e400").is_empty());
        assert!(!error(b"{'a':1}").is_empty());
    }

    #[test]
    fn bounds_the_depth() {
        let deep = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(parse(&deep(100)).is_ok());
        assert!(error(&deep(100_000)).contains("recursion limit"));
    }
}
