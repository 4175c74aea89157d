//! How values stand on the wire: parameters by style and place, bodies by media type.

use std::fmt;

use bytes::Bytes;
use serde_json::Value;
use trueline_spec::contract::{Media, Parameter};

use crate::data::Generator;

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
#[error("{what}: {reason}")]
pub struct NotEncodable {
    /// Parameter or body, and its name.
    pub what: String,
    /// A lower-case fragment.
    pub reason: String,
}

/// Writes a parameter's value.
pub fn encode_parameter(parameter: &Parameter, value: &Value) -> Result<WireParameter, NotEncodable> {
    let _ = value;
    Err(NotEncodable {
        what: format!("{} parameter `{}`", parameter.place, parameter.name),
        reason: "not built yet".into(),
    })
}

/// Whether any sensible reading of a wire parameter is valid.
pub fn decodes_to_valid(parameter: &Parameter, wire: &WireParameter, generator: &Generator) -> bool {
    let _ = (parameter, wire, generator);
    true
}

/// Writes a body.
pub fn encode_body(media: &Media, value: &Value) -> Result<EncodedBody, NotEncodable> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(EncodedBody { content_type: media.media_type.clone(), bytes: bytes.into() }),
        Err(error) => Err(NotEncodable { what: "body".into(), reason: error.to_string() }),
    }
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
