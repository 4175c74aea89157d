//! Runtime expressions: values of an exchange that a link hands on (OpenAPI 3.0.3, "Runtime Expressions").

use std::fmt;

/// A value of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// `$url`
    Url,
    /// `$method`
    Method,
    /// `$statusCode`
    StatusCode,
    /// `$request.…`
    Request(Part),
    /// `$response.…`
    Response(Part),
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `header.<name>`
    Header(String),
    /// `query.<name>`
    Query(String),
    /// `path.<name>`
    Path(String),
    /// `body`, or `body#<pointer>`
    Body(String),
}

impl Expression {
    /// Reads an expression; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "$url" => return Ok(Expression::Url),
            "$method" => return Ok(Expression::Method),
            "$statusCode" => return Ok(Expression::StatusCode),
            _ => {}
        }
        if let Some(part) = text.strip_prefix("$request.") {
            return Part::parse(part).map(Expression::Request);
        }
        if let Some(part) = text.strip_prefix("$response.") {
            return match Part::parse(part)? {
                Part::Query(_) | Part::Path(_) => Err(format!("a response has no `{part}`")),
                part => Ok(Expression::Response(part)),
            };
        }
        Err("it starts with none of $url, $method, $statusCode, $request. and $response.".into())
    }

    /// The expressions in a link's text: the whole text if it starts with `$`, else every `{$…}` in it.
    pub fn texts_in(text: &str) -> Vec<&str> {
        if text.starts_with('$') {
            return vec![text];
        }
        let mut found = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{$") {
            let Some(length) = rest[start..].find('}') else { break };
            found.push(&rest[start + 1..start + length]);
            rest = &rest[start + length..];
        }
        found
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        let named = |name: &str, part: fn(String) -> Part| {
            if name.is_empty() { Err("a name is missing at its end".to_owned()) } else { Ok(part(name.to_owned())) }
        };
        match text.split_once(['.', '#']) {
            None if text == "body" => Ok(Part::Body(String::new())),
            Some(("body", pointer)) if text.starts_with("body#") => {
                if pointer.is_empty() || pointer.starts_with('/') {
                    Ok(Part::Body(pointer.to_owned()))
                } else {
                    Err(format!("the JSON Pointer `{pointer}` does not start with `/`"))
                }
            }
            Some(("header", name)) => named(name, Part::Header),
            Some(("query", name)) => named(name, Part::Query),
            Some(("path", name)) => named(name, Part::Path),
            _ => Err(format!("`{text}` is none of header.<name>, query.<name>, path.<name>, body and body#<pointer>")),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Url => f.write_str("$url"),
            Expression::Method => f.write_str("$method"),
            Expression::StatusCode => f.write_str("$statusCode"),
            Expression::Request(part) => write!(f, "$request.{part}"),
            Expression::Response(part) => write!(f, "$response.{part}"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Header(name) => write!(f, "header.{name}"),
            Part::Query(name) => write!(f, "query.{name}"),
            Part::Path(name) => write!(f, "path.{name}"),
            Part::Body(pointer) if pointer.is_empty() => f.write_str("body"),
            Part::Body(pointer) => write!(f, "body#{pointer}"),
        }
    }
}
