//! Names: from the contract's words to Rust identifiers, and what happens when two words become one.

use std::collections::HashMap;

use heck::{ToPascalCase, ToShoutySnakeCase, ToSnakeCase};
use proc_macro2::{Ident, Span};
use trueline_spec::document::Location;

/// Keywords of edition 2024 that a raw identifier makes usable.
const KEYWORDS: [&str; 47] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
    "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move",
    "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "yield",
];

/// Keywords that no raw identifier can be.
const NEVER_RAW: [&str; 5] = ["crate", "self", "super", "Self", "_"];

/// Names that generated code uses bare; a type of the contract must not shadow them.
const PRELUDE: [&str; 14] = [
    "Box", "Bytes", "Clone", "Debug", "Default", "Err", "None", "Ok", "Option", "Result", "Self", "Some", "String",
    "Vec",
];

/// A type or variant: `agent_not_found` is `AgentNotFound`.
pub(super) fn pascal(text: &str) -> String {
    let words = spoken(text).to_pascal_case();
    match words.chars().next() {
        None => "Empty".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("V{words}"),
        Some(_) if NEVER_RAW.contains(&words.as_str()) => format!("{words}Value"),
        Some(_) => words,
    }
}

/// A type's name, kept clear of the names that generated code uses bare.
pub(super) fn type_name(text: &str) -> String {
    let name = pascal(text);
    if PRELUDE.contains(&name.as_str()) { format!("{name}Type") } else { name }
}

/// A field, function or module.
pub(super) fn snake(text: &str) -> String {
    let words = spoken(text).to_snake_case();
    match words.chars().next() {
        None => "empty".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("n{words}"),
        Some(_) if NEVER_RAW.contains(&words.as_str()) => format!("{words}_value"),
        Some(_) => words,
    }
}

/// A constant.
pub(super) fn shouty(text: &str) -> String {
    snake(text).to_shouty_snake_case()
}

/// Signs that carry meaning become words, others fall away.
fn spoken(text: &str) -> String {
    let mut out = String::new();
    for (index, sign) in text.chars().enumerate() {
        match sign {
            '+' => out.push_str(" plus "),
            '-' if index == 0 => out.push_str(" minus "),
            '<' => out.push_str(" less "),
            '>' => out.push_str(" more "),
            '=' => out.push_str(" equal "),
            '*' => out.push_str(" any "),
            '$' => out.push_str(" dollar "),
            sign if sign.is_ascii_alphanumeric() => out.push(sign),
            // No identifier of ours leaves ASCII; the number keeps two different letters apart.
            sign if sign.is_alphanumeric() => out.push_str(&format!(" u{:x} ", u32::from(sign))),
            _ => out.push(' '),
        }
    }
    out
}

/// An identifier, raw where it has to be.
pub(super) fn ident(name: &str) -> Ident {
    if KEYWORDS.contains(&name) { Ident::new_raw(name, Span::call_site()) } else { Ident::new(name, Span::call_site()) }
}

/// The names of one namespace, each with the place that took it.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashMap<String, (String, Location)>,
}

impl Names {
    /// Takes a name for a word; if another word has it already, that word and its place.
    pub(super) fn take(&mut self, name: &str, word: &str, at: &Location) -> Result<(), (String, Location)> {
        match self.taken.get(name) {
            Some((other, place)) => Err((other.clone(), place.clone())),
            None => {
                self.taken.insert(name.to_owned(), (word.to_owned(), at.clone()));
                Ok(())
            }
        }
    }
}

/// The name of a status as a variant: `NotFound`.
pub(super) fn status(status: u16) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    match (status, reason) {
        // RFC 9110 has dropped the teapot, and prose is no name.
        (418, _) | (_, None) => format!("Status{status}"),
        (_, Some(reason)) => pascal(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_names() {
        let cases = [
            ("gpt-4o", "Gpt4o"),
            ("gpt-3.5-turbo", "Gpt35Turbo"),
            ("agent_not_found", "AgentNotFound"),
            ("Data Sources", "DataSources"),
            ("+1", "Plus1"),
            ("-1", "Minus1"),
            ("1d", "V1d"),
            ("", "Empty"),
            ("Self", "SelfValue"),
            ("*", "Any"),
        ];
        for (word, name) in cases {
            assert_eq!(pascal(word), name, "{word:?}");
        }
        assert_eq!(type_name("Result"), "ResultType");
        assert_eq!(snake("maxTokens"), "max_tokens");
        assert_eq!(snake("X-LLM-API-Key"), "x_llm_api_key");
        assert_eq!(ident("type").to_string(), "r#type");
        assert_eq!(status(404), "NotFound");
        assert_eq!(status(429), "TooManyRequests");
        assert_eq!(status(499), "Status499");
    }
}
