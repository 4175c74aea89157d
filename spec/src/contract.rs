//! The contract model: one version-neutral view of an API that the generator, the server and the harness all read.
//!
//! Whatever version a document is written in, its schemas are JSON Schema 2020-12 here, its references are resolved,
//! and everything knows the place in the document where it stands.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use crate::document::{Document, Location, Sources};
use crate::problem::{Problem, Problems};
use crate::vocabulary::{
    Answer, CheckStep, ContractVocabulary, Credential, Effect, ErrorCode, ErrorEnvelope, Provenance, Quota, RateClass,
    Visibility,
};

/// An API as its document promises it.
#[derive(Debug, Clone)]
pub struct Contract {
    /// One lower-case word: `x-contract.name`, or made from the title.
    pub name: String,
    /// `info.title`.
    pub title: String,
    /// `info.version`.
    pub version: String,
    /// `info.description`.
    pub description: Option<String>,
    /// Base URLs, variables replaced by their defaults.
    pub servers: Vec<String>,
    /// In the order of the document.
    pub tags: Vec<Tag>,
    /// In the order of the document.
    pub operations: Vec<Operation>,
    /// Every named schema; a reference in any [`Schema`] reads `#/$defs/<key of this map>`.
    pub schemas: Arc<IndexMap<String, Schema>>,
    /// By name.
    pub security_schemes: IndexMap<String, SecurityScheme>,
    /// `x-contract`, if the document has one.
    pub vocabulary: Option<ContractVocabulary>,
    /// The parts of `x-contract` that the harness and the generator need resolved.
    pub envelope: Option<Envelope>,
    /// The source files, for positions and excerpts.
    pub document: Arc<Document>,
    /// Content hash of all source files (lower-case hex); equal documents have equal digests.
    pub digest: String,
    /// What is wrong with the document although its meaning is clear: read leniently, said all the same.
    pub notes: Vec<Problem>,
}

/// A section of the documentation.
#[derive(Debug, Clone)]
pub struct Tag {
    /// As written.
    pub name: String,
    /// As written.
    pub description: Option<String>,
    /// The tag that this one belongs to (3.2).
    pub parent: Option<String>,
}

/// One method on one path.
#[derive(Debug, Clone)]
pub struct Operation {
    /// `operationId`; made from method and path when the document has none ([`Operation::id_is_made`]).
    pub id: String,
    /// Whether the id was made here.
    pub id_is_made: bool,
    /// Upper case.
    pub method: http::Method,
    /// The path template.
    pub path: PathTemplate,
    /// The first tag, or `default`.
    pub tag: String,
    /// As written.
    pub summary: Option<String>,
    /// As written.
    pub description: Option<String>,
    /// As written.
    pub deprecated: bool,
    /// Path, query, header and cookie parameters; those of the path item included.
    pub parameters: Vec<Parameter>,
    /// The request body.
    pub body: Option<Body>,
    /// By status, in ascending order; `default` last.
    pub responses: Vec<Response>,
    /// Alternatives of which one suffices; each lists schemes that are needed together. Empty: no credential is
    /// needed. An empty alternative: anonymous callers are welcome too.
    pub security: Vec<SecurityRequirement>,
    /// All are needed: `x-required-scopes`, else the scopes and roles that every alternative of `security` with any asks for.
    pub required_scopes: Vec<String>,
    /// Names of rate classes.
    pub rate_limits: Vec<String>,
    /// Names of quotas.
    pub quotas: Vec<String>,
    /// Every code that this operation may answer: listed here, on every operation, on secured operations.
    pub error_codes: Vec<String>,
    /// Who else may see the resource.
    pub visibility: Option<Visibility>,
    /// Rules on a request that no schema can state (`x-beyond-schema`): a valid request may be refused for their sake.
    pub beyond_schema: Vec<String>,
    /// What a call does: `x-effect`, or from the method (DELETE destroys, GET, HEAD and OPTIONS read, the others write).
    pub effect: Effect,
    /// The largest body in bytes.
    pub max_body_bytes: Option<u64>,
    /// Where the operation is known from.
    pub provenance: Option<Provenance>,
    /// The operation object.
    pub at: Location,
}

/// A path with its parameters: `/agents/{agentId}/query/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    /// As written.
    pub text: String,
    /// Literal and parameter pieces in order.
    pub pieces: Vec<PathPiece>,
}

/// A piece of a path template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPiece {
    /// Text that stands as it is.
    Literal(String),
    /// A parameter's name.
    Parameter(String),
}

/// A parameter outside the body.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// As written; header names keep their case.
    pub name: String,
    /// Where it stands.
    pub place: ParameterPlace,
    /// Must it be there.
    pub required: bool,
    /// How its value is written.
    pub encoding: ParameterEncoding,
    /// `allowReserved`.
    pub allow_reserved: bool,
    /// What its value must be.
    pub schema: Schema,
    /// As written.
    pub description: Option<String>,
    /// Of the parameter, then of its schema.
    pub examples: Vec<Example>,
    /// As written.
    pub deprecated: bool,
    /// The parameter object.
    pub at: Location,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParameterPlace {
    /// In the path.
    Path,
    /// In the query string.
    Query,
    /// In a header.
    Header,
    /// In a cookie.
    Cookie,
}

/// How a parameter's value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterEncoding {
    /// By `style` and `explode`.
    Style {
        /// The style.
        style: Style,
        /// One name per item or property.
        explode: bool,
    },
    /// By a media type (`content`).
    Content(String),
}

/// Parameter styles (OpenAPI 3.x, "Style Values"). The delimited ones may stand in paths and headers too, from Swagger 2.0's
/// `collectionFormat`; tabs are only there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    SpaceDelimited,
    PipeDelimited,
    DeepObject,
    TabDelimited,
}

/// A request body.
#[derive(Debug, Clone)]
pub struct Body {
    /// Must it be there.
    pub required: bool,
    /// As written.
    pub description: Option<String>,
    /// At least one, in the order of the document.
    pub media: Vec<Media>,
    /// The request body object.
    pub at: Location,
}

/// One media type of a body.
#[derive(Debug, Clone)]
pub struct Media {
    /// The media type or range, lower case, parameters dropped: `application/json`, `text/*`.
    pub media_type: String,
    /// Absent: any bytes.
    pub schema: Option<Schema>,
    /// Of the media type, then of its schema.
    pub examples: Vec<Example>,
    /// Per property of a form or multipart body: media types of the part, in order of preference. In multipart bodies every
    /// property has some, by default those of the standard; in forms only those that the document gives.
    pub part_types: IndexMap<String, Vec<String>>,
    /// Per property of a form body whose encoding object says how it is written; the others are `form`, exploded.
    pub part_styles: IndexMap<String, ParameterEncoding>,
    /// Schema of each event or line (`itemSchema` of 3.2, or the schema itself for `text/event-stream` and NDJSON).
    pub item_schema: Option<Schema>,
    /// The media type object.
    pub at: Location,
}

/// The statuses that a response object speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatusPattern {
    /// One status.
    Exact(u16),
    /// `4XX`: the hundreds digit.
    Range(u8),
    /// Every other.
    Default,
}

/// An answer that the contract foresees.
#[derive(Debug, Clone)]
pub struct Response {
    /// The statuses it speaks for.
    pub status: StatusPattern,
    /// As written.
    pub description: String,
    /// Documented headers.
    pub headers: Vec<Header>,
    /// Empty: no body.
    pub media: Vec<Media>,
    /// Standard `links`.
    pub links: Vec<Link>,
    /// Key in `components.responses` when the answer is a shared one.
    pub component: Option<String>,
    /// The response object.
    pub at: Location,
}

/// A documented response header.
#[derive(Debug, Clone)]
pub struct Header {
    /// As written.
    pub name: String,
    /// Must it be there.
    pub required: bool,
    /// As written.
    pub description: Option<String>,
    /// What its value must be; style is always `simple`.
    pub schema: Schema,
    /// One name per property of an object.
    pub explode: bool,
    /// The header object.
    pub at: Location,
}

/// A value that the document gives as an example.
#[derive(Debug, Clone)]
pub struct Example {
    /// Key in `examples`, or `example`, or `default`.
    pub name: String,
    /// The value; external ones are not fetched and do not appear.
    pub value: Value,
    /// Where the value stands.
    pub at: Location,
}

/// A standard link: a value of this exchange is an input of another operation.
#[derive(Debug, Clone)]
pub struct Link {
    /// Key in `links`.
    pub name: String,
    /// Id of the operation that takes the values.
    pub target: String,
    /// By parameter name (`path.id` forms have their prefix dropped into [`LinkParameter::place`]).
    pub parameters: Vec<LinkParameter>,
    /// The body: a value whose strings that start with `$` are runtime expressions.
    pub body: Option<Value>,
    /// The link object.
    pub at: Location,
}

/// One parameter that a link fills.
#[derive(Debug, Clone)]
pub struct LinkParameter {
    /// The parameter's name in the target.
    pub name: String,
    /// The place, if the document says so (`path.id`).
    pub place: Option<ParameterPlace>,
    /// A constant or a runtime expression (`$response.body#/id`).
    pub value: Value,
}

/// Schemes that are needed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityRequirement {
    /// Scheme name and the scopes (oauth2, openIdConnect) or roles (3.1, any scheme) that it asks for.
    pub schemes: IndexMap<String, Vec<String>>,
}

/// A way to prove who one is.
#[derive(Debug, Clone)]
pub struct SecurityScheme {
    /// Key in `securitySchemes`.
    pub name: String,
    /// What goes where.
    pub kind: SecurityKind,
    /// As written.
    pub description: Option<String>,
    /// `x-credential`.
    pub credential: Option<Credential>,
    /// The scheme object.
    pub at: Location,
}

/// What goes where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityKind {
    /// `type: apiKey`.
    ApiKey {
        /// Header, query or cookie.
        place: ParameterPlace,
        /// The header's, parameter's or cookie's name.
        name: String,
    },
    /// `type: http` with this scheme, lower case (`bearer`, `basic`).
    Http {
        /// Lower case.
        scheme: String,
        /// `bearerFormat`.
        bearer_format: Option<String>,
    },
    /// `type: oauth2`: a bearer token.
    OAuth2 {
        /// Every scope that a flow declares, with its description.
        scopes: IndexMap<String, String>,
        /// Token endpoints by flow name.
        token_urls: IndexMap<String, String>,
    },
    /// `type: openIdConnect`: a bearer token.
    OpenIdConnect {
        /// Discovery document.
        url: String,
    },
    /// `type: mutualTLS`.
    MutualTls,
}

/// The error envelope with its schema resolved.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// As written.
    pub vocabulary: ErrorEnvelope,
    /// The schema.
    pub schema: Schema,
    /// By code: the schema of the details, for those codes that have one.
    pub details: IndexMap<String, Schema>,
}

/// A JSON Schema 2020-12 whose references point into [`Contract::schemas`] as `#/$defs/<name>`.
///
/// OpenAPI's own keywords stay where they carry meaning (`discriminator` with its mapping rewritten to `#/$defs/…`,
/// `readOnly`, `writeOnly`, `x-…`); `nullable` and boolean `exclusiveMinimum` do not survive.
#[derive(Debug, Clone)]
pub struct Schema {
    /// The schema: an object or a boolean.
    pub value: Arc<Value>,
    /// Where it stands.
    pub at: Location,
    /// Where parts of it stand that stand elsewhere, by pointer into the value: a form that Swagger 2.0 spells as single
    /// parameters is one schema here. The longest prefix counts.
    pub origins: Option<Arc<[(String, Location)]>>,
}

/// Which way a body travels: `readOnly` properties are the server's, `writeOnly` ones the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the server.
    Request,
    /// From the server.
    Response,
}

impl Schema {
    /// The name in [`Contract::schemas`] if this schema is nothing but a reference to it.
    pub fn name(&self) -> Option<&str> {
        let object = self.value.as_object()?;
        let target = object.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        object.keys().all(|key| key == "$ref" || is_annotation(key)).then_some(target)
    }
}

/// Whether a schema keyword asserts nothing about a value.
pub fn is_annotation(keyword: &str) -> bool {
    keyword.starts_with("x-")
        || matches!(
            keyword,
            "title"
                | "description"
                | "default"
                | "example"
                | "examples"
                | "deprecated"
                | "readOnly"
                | "writeOnly"
                | "externalDocs"
                | "xml"
                | "$comment"
                | "$schema"
        )
}

impl Contract {
    /// Reads a contract from a file, or from a folder with an `openapi.yaml` or `openapi.json` in it.
    pub fn load(path: &Path) -> Result<Contract, Problems> {
        crate::read::contract(Document::open(path)?)
    }

    /// Reads a contract from a file, a folder or a URL, with overlays applied.
    pub fn gather(sources: Sources<'_>) -> Result<Contract, Problems> {
        crate::read::contract(Document::gather(sources)?)
    }

    /// Reads a contract from one document in memory; `name` stands in messages.
    pub fn from_text(name: &str, text: &str) -> Result<Contract, Problems> {
        crate::read::contract(Document::from_text(name, text)?)
    }

    /// The operation with this id.
    pub fn operation(&self, id: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.id == id)
    }

    /// Follows `#/$defs/…` references until the schema is not a bare reference any more.
    pub fn resolve<'a>(&'a self, schema: &'a Schema) -> &'a Schema {
        let mut current = schema;
        for _ in 0..64 {
            match current.name().and_then(|name| self.schemas.get(name)) {
                Some(next) => current = next,
                None => break,
            }
        }
        current
    }

    /// Where a pointer into a standalone schema (see [`Contract::standalone`]) stands in the document.
    pub fn place_in(&self, schema: &Schema, pointer: &str) -> Location {
        let below =
            |at: &Location, rest: &str| Location { file: at.file, pointer: format!("{}{rest}", at.pointer).into() };
        if let Some(rest) = pointer.strip_prefix("/$defs/") {
            let (name, rest) = rest.find('/').map_or((rest, ""), |end| rest.split_at(end));
            let name = name.replace("~1", "/").replace("~0", "~");
            if let Some(named) = self.schemas.get(&name) {
                return below(&named.at, rest);
            }
        }
        let origins = schema.origins.as_deref().unwrap_or_default().iter();
        let moved = origins.filter_map(|(prefix, at)| {
            let rest = pointer.strip_prefix(prefix.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((prefix.len(), at, rest))
        });
        match moved.max_by_key(|(length, ..)| *length) {
            Some((_, at, rest)) => below(at, rest),
            None => below(&schema.at, pointer),
        }
    }

    /// A schema that stands on its own: `schema` with the `$defs` it reaches, seen in one direction.
    ///
    /// In a request, `readOnly` properties are not required; in a response, `writeOnly` properties are not required
    /// and must be absent (OpenAPI 3.0.3, "Schema Object", `readOnly`/`writeOnly`).
    pub fn standalone(&self, schema: &Schema, direction: Direction) -> Value {
        crate::schema::standalone(&self.schemas, &schema.value, direction)
    }

    /// The codes of the dialect, empty without a vocabulary.
    pub fn error_codes(&self) -> &IndexMap<String, ErrorCode> {
        static NONE: std::sync::LazyLock<IndexMap<String, ErrorCode>> = std::sync::LazyLock::new(IndexMap::new);
        self.vocabulary.as_ref().map_or(&NONE, |vocabulary| &vocabulary.error_codes)
    }

    /// The required parts of a request whose absence has a code of its own (`x-missing`): parameters, and properties of a
    /// body of one object. Place (none: the body), name, code.
    pub fn missing_codes<'a>(&'a self, operation: &'a Operation) -> Vec<(Option<ParameterPlace>, &'a str, &'a str)> {
        let mut found = Vec::new();
        for parameter in operation.parameters.iter().filter(|parameter| parameter.required) {
            if let Some(code) = self.word(&parameter.schema.value, "x-missing") {
                found.push((Some(parameter.place), parameter.name.as_str(), code));
            }
        }
        for schema in operation.body.iter().flat_map(|body| &body.media).filter_map(|media| media.schema.as_ref()) {
            let resolved = self.resolve(schema);
            let required = resolved.value.get("required").and_then(Value::as_array).into_iter().flatten();
            for name in required.filter_map(Value::as_str) {
                if let Some(property) = resolved.value.get("properties").and_then(|properties| properties.get(name))
                    && let Some(code) = self.word(property, "x-missing")
                    && !found.contains(&(None, name, code))
                {
                    found.push((None, name, code));
                }
            }
        }
        found
    }

    /// The text of an `x-` word of a schema, or of the named schema that it refers to.
    fn word<'a>(&'a self, schema: &'a Value, word: &str) -> Option<&'a str> {
        let mut current = schema;
        for _ in 0..64 {
            if let Some(text) = current.get(word).and_then(Value::as_str) {
                return Some(text);
            }
            let name = current.get("$ref").and_then(Value::as_str)?.strip_prefix("#/$defs/")?;
            current = &self.schemas.get(name)?.value;
        }
        None
    }

    /// The rate class with this name.
    pub fn rate_class(&self, name: &str) -> Option<&RateClass> {
        self.vocabulary.as_ref()?.rate_limits.as_ref()?.classes.get(name)
    }

    /// The quota with this name.
    pub fn quota(&self, name: &str) -> Option<&Quota> {
        self.vocabulary.as_ref()?.quotas.get(name)
    }

    /// The promised order of judgement, empty if none is promised.
    pub fn check_order(&self) -> &[CheckStep] {
        self.vocabulary.as_ref().map_or(&[], |vocabulary| &vocabulary.check_order)
    }

    /// The status of an answer that the envelope names.
    pub fn status_of(&self, answer: &Answer) -> Option<u16> {
        answer.status(self.error_codes())
    }
}

impl Operation {
    /// The response object that speaks for `status`: the exact one, then the range, then `default`.
    pub fn response(&self, status: u16) -> Option<&Response> {
        let by = |pattern| self.responses.iter().find(|response| response.status == pattern);
        by(StatusPattern::Exact(status))
            .or_else(|| by(StatusPattern::Range((status / 100) as u8)))
            .or_else(|| by(StatusPattern::Default))
    }

    /// Whether this very status is listed, not only a range that it falls into.
    pub fn documents(&self, status: u16) -> bool {
        self.responses.iter().any(|response| response.status == StatusPattern::Exact(status))
    }

    /// Whether a credential is needed: no alternative lets an anonymous caller in.
    pub fn is_secured(&self) -> bool {
        !self.security.is_empty() && self.security.iter().all(|alternative| !alternative.schemes.is_empty())
    }

    /// The scopes or roles that a credential of `scheme` needs: sets, of which one has to be granted whole. None if the
    /// operation does not take that scheme; an empty set if any credential of it will do. Other schemes that an alternative
    /// asks for besides are not looked at.
    pub fn scope_sets(&self, scheme: &str) -> Vec<Vec<&str>> {
        let with = self.security.iter().filter_map(|alternative| alternative.schemes.get(scheme));
        let mut sets: Vec<Vec<&str>> = Vec::new();
        for scopes in with {
            let mut set = self.with_words(scopes);
            set.sort_unstable();
            set.dedup();
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
        sets
    }

    /// The scopes or roles that a credential of `scheme` needs for one alternative of the operation's security.
    pub fn scopes_for<'s>(&'s self, alternative: &'s SecurityRequirement, scheme: &str) -> Option<Vec<&'s str>> {
        Some(self.with_words(alternative.schemes.get(scheme)?))
    }

    /// What an alternative asks for, and what `x-required-scopes` does: whatever the alternatives do not have in common.
    fn with_words<'s>(&'s self, asked: &'s [String]) -> Vec<&'s str> {
        let mut scopes: Vec<&str> = asked.iter().map(String::as_str).collect();
        if self.required_scopes != common_scopes(&self.security) {
            scopes.extend(self.required_scopes.iter().map(String::as_str));
        }
        scopes
    }

    /// The parameter with this name and place.
    pub fn parameter(&self, place: ParameterPlace, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.place == place && parameter.name == name)
    }

    /// Names of the path parameters in the order of the path.
    pub fn path_parameters(&self) -> impl Iterator<Item = &str> {
        self.path.pieces.iter().filter_map(|piece| match piece {
            PathPiece::Parameter(name) => Some(name.as_str()),
            PathPiece::Literal(_) => None,
        })
    }
}

/// The scopes or roles that whoever calls must have: those that every alternative with scopes asks for. Where the
/// alternatives differ, [`Operation::scope_sets`] tells them apart.
pub(crate) fn common_scopes(security: &[SecurityRequirement]) -> Vec<String> {
    let mut sets = security.iter().filter_map(|alternative| {
        let mut scopes: Vec<&String> = Vec::new();
        for scope in alternative.schemes.values().flatten() {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        (!scopes.is_empty()).then_some(scopes)
    });
    let Some(mut common) = sets.next() else { return Vec::new() };
    for set in sets {
        common.retain(|scope| set.contains(scope));
    }
    common.into_iter().cloned().collect()
}

impl PathTemplate {
    /// Splits a template; braces that do not pair are literals.
    pub fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let Some(length) = rest[open..].find('}') else { break };
            if open > 0 {
                pieces.push(PathPiece::Literal(rest[..open].to_owned()));
            }
            pieces.push(PathPiece::Parameter(rest[open + 1..open + length].to_owned()));
            rest = &rest[open + length + 1..];
        }
        if !rest.is_empty() {
            pieces.push(PathPiece::Literal(rest.to_owned()));
        }
        PathTemplate { text: text.to_owned(), pieces }
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatusPattern::Exact(status) => write!(f, "{status}"),
            StatusPattern::Range(hundreds) => write!(f, "{hundreds}XX"),
            StatusPattern::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for ParameterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParameterPlace::Path => "path",
            ParameterPlace::Query => "query",
            ParameterPlace::Header => "header",
            ParameterPlace::Cookie => "cookie",
        })
    }
}
