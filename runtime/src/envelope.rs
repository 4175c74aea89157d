//! The dialect's error envelope: where code, message, details and fields stand in the one JSON object of every failure.
//!
//! The layout is data that the generator derives from the envelope's schema and the JSON Pointers of
//! `x-contract.error-envelope`; writing and reading are done here, once for all dialects:
//! `{"error","message","details"}`, `{"error":{"message"}}`, `{"detail":"…"}` and
//! `{"status":"error","error","message","details","errors"}` differ in their tables only.

use serde_json::{Map, Value};

use crate::problem::FieldError;

/// Where everything stands.
#[derive(Debug)]
pub struct Envelope {
    /// The layout of a failure that has a code.
    pub coded: Node,
    /// The layout of a failure without one.
    pub plain: Node,
    /// JSON Pointers to the code, the first that resolves counts.
    pub code: &'static [&'static str],
    /// JSON Pointers to the text for people.
    pub message: &'static [&'static str],
    /// JSON Pointers to the details.
    pub details: &'static [&'static str],
    /// JSON Pointers to the list of field errors.
    pub fields: &'static [&'static str],
    /// How one entry of that list is spelled.
    pub field: FieldForm,
}

/// A place in the envelope.
#[derive(Debug)]
pub enum Node {
    /// An object; its members in the order of the schema.
    Object(&'static [Member]),
    /// The machine code.
    Code,
    /// The status as a number.
    Status,
    /// The text for people.
    Message,
    /// The details.
    Details,
    /// The list of field errors.
    Fields,
    /// This JSON text.
    Constant(&'static str),
}

/// A member of an object.
#[derive(Debug)]
pub enum Member {
    /// A name and what stands there.
    Named(&'static str, Node, Presence),
    /// The members of the details stand here, beside the others.
    SpreadDetails,
}

/// Whether a member may be left out when there is nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is always there.
    Always,
    /// It is left out.
    IfAny,
}

/// The property names of a field error.
#[derive(Debug)]
pub struct FieldForm {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: &'static str,
    /// The rule that it breaks.
    pub rule: Option<&'static str>,
}

/// What an envelope says.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The machine code.
    pub code: Option<&'a str>,
    /// The text for people.
    pub message: &'a str,
    /// An object, or null when there is nothing to say.
    pub details: &'a Value,
    /// The field errors.
    pub fields: &'a [FieldError],
}

/// What was read from an envelope.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The machine code.
    pub code: Option<String>,
    /// The text for people.
    pub message: Option<String>,
    /// The details.
    pub details: Option<Value>,
    /// The field errors.
    pub fields: Vec<FieldError>,
}

impl Envelope {
    /// Dresses a failure.
    pub fn render(&self, content: Content<'_>) -> Value {
        let layout = if content.code.is_some() { &self.coded } else { &self.plain };
        self.node(layout, content, Presence::Always).unwrap_or(Value::Object(Map::new()))
    }

    fn node(&self, node: &Node, content: Content<'_>, presence: Presence) -> Option<Value> {
        let always = presence == Presence::Always;
        match node {
            Node::Object(members) => {
                let mut object = Map::new();
                for member in *members {
                    match member {
                        Member::Named(name, node, presence) => {
                            if let Some(value) = self.node(node, content, *presence) {
                                object.insert((*name).to_owned(), value);
                            }
                        }
                        Member::SpreadDetails => {
                            if let Value::Object(details) = content.details {
                                for (name, value) in details {
                                    object.entry(name.as_str()).or_insert_with(|| value.clone());
                                }
                            }
                        }
                    }
                }
                (always || !object.is_empty()).then_some(Value::Object(object))
            }
            Node::Code => content.code.map(Value::from),
            Node::Status => Some(Value::from(content.status)),
            Node::Message => Some(Value::from(content.message)),
            Node::Details => match content.details {
                Value::Null => always.then(|| Value::Object(Map::new())),
                Value::Object(details) if details.is_empty() && !always => None,
                details => Some(details.clone()),
            },
            Node::Fields => (always || !content.fields.is_empty())
                .then(|| content.fields.iter().map(|field| self.field_error(field)).collect()),
            Node::Constant(text) => serde_json::from_str(text).ok(),
        }
    }

    fn field_error(&self, error: &FieldError) -> Value {
        let mut entry = Map::new();
        entry.insert(self.field.field.to_owned(), Value::from(error.field.as_str()));
        entry.insert(self.field.message.to_owned(), Value::from(error.message.as_str()));
        if let Some(name) = self.field.rule {
            entry.insert(name.to_owned(), Value::from(error.rule.as_str()));
        }
        Value::Object(entry)
    }

    /// Reads what a failure says; whatever does not stand where it should is absent.
    pub fn parse(&self, body: &Value) -> Parsed {
        let text = |pointers: &[&str]| {
            pointers.iter().find_map(|pointer| body.pointer(pointer).and_then(Value::as_str)).map(str::to_owned)
        };
        let details = self.details.iter().find_map(|pointer| body.pointer(pointer)).filter(|value| value.is_object());
        let fields = self.fields.iter().find_map(|pointer| body.pointer(pointer)).and_then(Value::as_array);
        let entry = |value: &Value| FieldError {
            field: value.get(self.field.field).and_then(Value::as_str).unwrap_or_default().to_owned(),
            message: value.get(self.field.message).and_then(Value::as_str).unwrap_or_default().to_owned(),
            rule: self.field.rule.and_then(|name| value.get(name)?.as_str()).unwrap_or_default().to_owned(),
        };
        Parsed {
            code: text(self.code),
            message: text(self.message),
            details: details.cloned(),
            fields: fields.into_iter().flatten().map(entry).collect(),
        }
    }
}
