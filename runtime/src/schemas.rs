//! JSON Schemas, compiled once, and their findings in words.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::contract::Place;
use crate::reject::{Violation, escape};

/// The compiled schemas of a contract, by index.
#[derive(Debug)]
pub struct Schemas {
    validators: Vec<Validator>,
}

/// A schema that cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The list is not JSON.
    #[error("the list of schemas cannot be read")]
    Syntax(#[from] serde_json::Error),
    /// One of the schemas is not one.
    #[error("schema {index} cannot be compiled: {reason}")]
    Compile {
        /// Its place in the list, from 0.
        index: usize,
        /// Why not.
        reason: String,
    },
}

impl Schemas {
    /// Compiles a JSON array of schemas (draft 2020-12). Formats are checked. Patterns are run by an engine that takes
    /// linear time, except those that look around.
    ///
    /// # Errors
    ///
    /// If the text is not a JSON array of schemas; generation has proved that it is.
    pub fn compile(text: &str) -> Result<Self, SchemaError> {
        let schemas: Vec<Value> = serde_json::from_str(text)?;
        let compile = |(index, schema): (usize, &Value)| {
            let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
            options
                .clone()
                .with_pattern_options(PatternOptions::regex())
                .build(schema)
                .or_else(|_| options.build(schema))
                .map_err(|error| SchemaError::Compile { index, reason: error.to_string() })
        };
        Ok(Schemas { validators: schemas.iter().enumerate().map(compile).collect::<Result<_, _>>()? })
    }

    /// Holds a value to a schema and adds everything that is wrong to `found`; `base` is the pointer of the value.
    /// Whether it is right.
    pub fn check(&self, index: usize, value: &Value, place: Place, base: &str, found: &mut Vec<Violation>) -> bool {
        let Some(validator) = self.validators.get(index) else {
            found.push(Violation {
                place,
                pointer: base.to_owned(),
                rule: "schema".into(),
                message: "cannot be judged".into(),
            });
            return false;
        };
        if validator.is_valid(value) {
            return true;
        }
        let start = found.len();
        for error in validator.iter_errors(value) {
            explain(&error, place, base, found);
        }
        // Branches of a composition may say the same thing twice.
        let mut index = start;
        while index < found.len() {
            if found[start..index].contains(&found[index]) {
                found.remove(index);
            } else {
                index += 1;
            }
        }
        false
    }
}

fn explain(error: &ValidationError<'_>, place: Place, base: &str, found: &mut Vec<Violation>) {
    let kind = error.kind();
    let at = format!("{base}{}", error.instance_path().as_str());
    let mut add = |pointer: String, message: String| {
        found.push(Violation { place, pointer, rule: kind.keyword().to_owned().into(), message: message.into() });
    };
    let child = |name: &str| format!("{at}/{}", escape(name));
    match kind {
        ValidationErrorKind::Required { property } => {
            add(child(property.as_str().unwrap_or_default()), "is required".to_owned());
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            for name in unexpected {
                add(child(name), "is not allowed".to_owned());
            }
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            // Where only one alternative is of the value's type, its findings say more than "none of them".
            let own = error.instance_path().as_str();
            let foreign = |branch: &&Vec<ValidationError<'_>>| {
                branch.iter().any(|error| {
                    error.instance_path().as_str() == own
                        && matches!(
                            error.kind(),
                            ValidationErrorKind::Type { .. } | ValidationErrorKind::Constant { .. }
                        )
                })
            };
            let mut near = context.iter().filter(|branch| !foreign(branch));
            match (near.next(), near.next()) {
                (Some(only), None) if context.len() > 1 => {
                    for error in only {
                        explain(error, place, base, found);
                    }
                }
                _ => add(at.clone(), "is none of the documented alternatives".to_owned()),
            }
        }
        ValidationErrorKind::PropertyNames { error } => {
            add(at.clone(), format!("has a property whose name {}", words(error.kind())));
        }
        kind => add(at.clone(), words(kind)),
    }
}

/// What a value must be; never what it is, which may be a secret.
fn words(kind: &ValidationErrorKind) -> String {
    let plural = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    match kind {
        ValidationErrorKind::Type { kind } => match kind {
            TypeKind::Single(kind) => format!("must be {}", type_name(&kind.to_string())),
            TypeKind::Multiple(kinds) => {
                let names: Vec<_> = kinds.iter().map(|kind| type_name(&kind.to_string())).collect();
                format!("must be {}", names.join(" or "))
            }
        },
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match options {
                [one] => format!("must be {}", plain(one)),
                several => format!("must be one of {}", several.iter().map(plain).collect::<Vec<_>>().join(", ")),
            }
        }
        ValidationErrorKind::Constant { expected_value } => match expected_value.as_str() {
            Some(text) => format!("must be {text}"),
            None => format!("must be {expected_value}"),
        },
        ValidationErrorKind::Format { format } => match format.as_str() {
            "uuid" => "must be a UUID".to_owned(),
            "email" => "must be an email address".to_owned(),
            "uri" => "must be a URI".to_owned(),
            "date" => "must be a date such as 2024-01-15".to_owned(),
            "date-time" => "must be a time such as 2024-01-15T10:30:00Z".to_owned(),
            other => format!("must have the format {other}"),
        },
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        ValidationErrorKind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        ValidationErrorKind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        ValidationErrorKind::MinLength { limit } => {
            format!("must have at least {}", plural(*limit, "character", "characters"))
        }
        ValidationErrorKind::MaxLength { limit } => {
            format!("must have at most {}", plural(*limit, "character", "characters"))
        }
        ValidationErrorKind::MinItems { limit } => format!("must have at least {}", plural(*limit, "item", "items")),
        ValidationErrorKind::MaxItems { limit } => format!("must have at most {}", plural(*limit, "item", "items")),
        ValidationErrorKind::MinProperties { limit } => {
            format!("must have at least {}", plural(*limit, "property", "properties"))
        }
        ValidationErrorKind::MaxProperties { limit } => {
            format!("must have at most {}", plural(*limit, "property", "properties"))
        }
        ValidationErrorKind::Pattern { pattern } => format!("must match {pattern}"),
        ValidationErrorKind::UniqueItems => "must not have the same item twice".to_owned(),
        ValidationErrorKind::Contains => "lacks an item that must be there".to_owned(),
        ValidationErrorKind::FalseSchema => "is not allowed".to_owned(),
        ValidationErrorKind::OneOfMultipleValid { .. } => "is more than one of the documented alternatives".to_owned(),
        ValidationErrorKind::Required { .. } => "is required".to_owned(),
        kind => format!("breaks the rule {}", kind.keyword()),
    }
}

fn type_name(name: &str) -> &'static str {
    match name {
        "string" => "a string",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "an array",
        "object" => "an object",
        "null" => "null",
        _ => "of another type",
    }
}
