//! The plan: every operation with its names, types and answers decided, before a line is written.

use proc_macro2::TokenStream;
use quote::quote;
use serde_json::{Map, Value};
use trueline_spec::contract::{
    Body, Contract, Direction, Media, Operation, Parameter, ParameterEncoding, ParameterPlace, PathPiece, Response,
    Schema, StatusPattern, Style,
};
use trueline_spec::document::Location;
use trueline_spec::vocabulary::{Answer, CheckStep, RetryAfterForm};

use super::names::{self, Names};
use super::problems::{Chosen, Dialect, validates};
use super::schemas::Schemas;
use super::sink::{Sink, below};
use super::types::{Root, Shape, Type, Types, reference};

/// Where no contract says how large a body may be: a megabyte.
const LARGEST_BODY: u64 = 1024 * 1024;

/// One operation, decided.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) operation: &'a Operation,
    /// The module of its section: `data_sources`.
    pub(super) module: String,
    /// `query_agent`.
    pub(super) function: String,
    /// `QueryAgent`.
    pub(super) name: String,
    /// `QUERY_AGENT`.
    pub(super) constant: String,
    pub(super) parameters: Vec<PlannedParameter<'a>>,
    pub(super) body: Option<PlannedBody<'a>>,
    pub(super) successes: Vec<Success<'a>>,
    /// Variant names with their documentation.
    pub(super) failures: Vec<(String, String)>,
    pub(super) caller: Caller,
    pub(super) refusals: Chosen,
    /// All that are needed, the ones of the security requirements included.
    pub(super) scopes: Vec<String>,
}

/// What a handler is told about its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// Nothing: no credential is looked at.
    Nobody,
    /// Who, if anybody.
    Anybody,
    /// Who.
    Somebody,
}

#[derive(Debug)]
pub(super) struct PlannedParameter<'a> {
    pub(super) parameter: &'a Parameter,
    pub(super) rust: String,
    pub(super) shape: Shape,
    pub(super) schema: usize,
    pub(super) default: Option<TokenStream>,
    pub(super) not_found: Option<Answer>,
    pub(super) kind: TokenStream,
    pub(super) style: &'static str,
    pub(super) explode: bool,
}

#[derive(Debug)]
pub(super) struct PlannedBody<'a> {
    pub(super) body: &'a Body,
    pub(super) form: BodyForm,
    pub(super) schema: Option<usize>,
    pub(super) max_bytes: u64,
}

#[derive(Debug)]
pub(super) enum BodyForm {
    Json(Shape),
    Form(Shape, Vec<(String, TokenStream)>),
    Multipart(Vec<PlannedPart>),
    Text,
    Bytes,
}

#[derive(Debug)]
pub(super) struct PlannedPart {
    pub(super) name: String,
    pub(super) rust: String,
    pub(super) doc: String,
    pub(super) required: bool,
    pub(super) repeated: bool,
    /// Nothing: a file.
    pub(super) field: Option<(Shape, TokenStream)>,
    pub(super) media_types: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Success<'a> {
    pub(super) status: u16,
    pub(super) variant: String,
    pub(super) payload: Payload,
    pub(super) media_type: Option<String>,
    pub(super) headers: Vec<PlannedHeader>,
    pub(super) response: &'a Response,
}

#[derive(Debug)]
pub(super) enum Payload {
    Empty,
    Json(Shape),
    Text,
    Bytes,
    Events(Shape),
}

#[derive(Debug)]
pub(super) struct PlannedHeader {
    pub(super) wire: String,
    pub(super) rust: String,
    pub(super) doc: String,
    pub(super) required: bool,
    pub(super) ty: Type,
}

/// All operations of a contract, with what they share.
#[derive(Debug)]
pub(super) struct Planner<'a, 's> {
    contract: &'a Contract,
    sink: &'s Sink,
    pub(super) types: Types<'s>,
    pub(super) schemas: Schemas,
    pub(super) roots: Vec<Root>,
}

impl<'a: 's, 's> Planner<'a, 's> {
    pub(super) fn new(contract: &'a Contract, sink: &'s Sink) -> Self {
        Planner { contract, sink, types: Types::new(contract, sink), schemas: Schemas::default(), roots: Vec::new() }
    }

    /// Plans every operation.
    pub(super) fn plan(&mut self, dialect: &mut Dialect<'_>) -> Vec<Plan<'a>> {
        self.check_order();
        let mut functions = Names::default();
        let mut modules = Names::default();
        let mut routes: Vec<(&http::Method, String, &Operation)> = Vec::new();
        let contract = self.contract;
        let mut plans = Vec::new();
        for operation in &contract.operations {
            let module = names::snake(&operation.tag);
            if let Err((other, _)) = modules.take(&module, &operation.tag, &operation.at)
                && other != operation.tag
            {
                self.sink.refuse(
                    &operation.at,
                    format!("the tags `{other}` and `{}` are both `{module}` in Rust", operation.tag),
                );
            }
            if ["mod", "gate", "details", "raw", "retry"].contains(&module.as_str()) {
                self.sink.refuse(
                    &operation.at,
                    format!("the tag `{}` would be the module `{module}`, which is taken", operation.tag),
                );
            }
            if operation.id_is_made {
                self.sink.refuse_with_help(
                    &operation.at,
                    "this operation has no operationId",
                    "give it one: it names everything",
                );
            }
            let function = names::snake(&operation.id);
            if let Err((other, _)) = functions.take(&function, &operation.id, &operation.at) {
                self.sink.refuse(
                    &operation.at,
                    format!("the operations `{other}` and `{}` are both `{function}` in Rust", operation.id),
                );
                continue;
            }
            self.path(operation);
            let shape = shape_of(operation);
            if let Some((_, _, other)) =
                routes.iter().find(|(method, other, _)| **method == operation.method && *other == shape)
            {
                self.sink.refuse(
                    &operation.at,
                    format!("`{}` has this method on a path of the same shape already", other.id),
                );
                continue;
            }
            routes.push((&operation.method, shape, operation));
            plans.push(self.operation(operation, module, function, dialect));
        }
        plans
    }

    /// A limit may come after authentication, but validation comes last of what the platform does.
    fn check_order(&self) {
        let order = self.contract.check_order();
        let place = |step: CheckStep| order.iter().position(|other| *other == step);
        for before in [CheckStep::Limit, CheckStep::Authenticate, CheckStep::Authorize] {
            for after in [CheckStep::Validate, CheckStep::Find] {
                if let (Some(a), Some(b)) = (place(before), place(after))
                    && a > b
                {
                    let at = Location { file: 0, pointer: "/x-contract/check-order".into() };
                    self.sink.refuse(
                        &at,
                        format!("the generated router cannot {after:?} before it does {before:?}").to_lowercase(),
                    );
                }
            }
        }
    }

    fn path(&self, operation: &Operation) {
        let pieces = &operation.path.pieces;
        let mut seen = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let PathPiece::Parameter(name) = piece else { continue };
            let before = index.checked_sub(1).and_then(|index| pieces.get(index));
            let opens = matches!(before, Some(PathPiece::Literal(text)) if text.ends_with('/'));
            let closes = match pieces.get(index + 1) {
                None => true,
                Some(PathPiece::Literal(text)) => text.starts_with('/'),
                Some(PathPiece::Parameter(_)) => false,
            };
            if !opens || !closes {
                self.sink.refuse_with_help(
                    &operation.at,
                    format!("the path parameter `{name}` does not fill its segment of `{}`", operation.path),
                    "let a parameter stand alone between two slashes",
                );
            }
            if seen.contains(&name) {
                self.sink.refuse(&operation.at, format!("the path has the parameter `{name}` twice"));
            }
            seen.push(name);
            if operation.parameter(ParameterPlace::Path, name).is_none() {
                self.sink.refuse(&operation.at, format!("the path parameter `{name}` is not described"));
            }
        }
        if !operation.path.text.starts_with('/') || operation.path.text.contains(['*', '?', '#']) {
            self.sink.refuse(&operation.at, format!("`{}` is not a path that can be routed", operation.path));
        }
    }

    fn operation(
        &mut self,
        operation: &'a Operation,
        module: String,
        function: String,
        dialect: &mut Dialect<'_>,
    ) -> Plan<'a> {
        let name = names::pascal(&operation.id);
        let caller = match () {
            () if operation.security.iter().all(|alternative| alternative.schemes.is_empty()) => Caller::Nobody,
            () if operation.is_secured() => Caller::Somebody,
            () => Caller::Anybody,
        };
        let parameters = self.parameters(operation, &name, &module, dialect);
        let body = self.body(operation, &name, &module);
        let judged = validates(operation)
            || parameters
                .iter()
                .any(|parameter| parameter.parameter.place == ParameterPlace::Path && parameter.not_found.is_none());
        let successes = self.successes(operation, &name, &module);
        let failures: Vec<(String, String)> = dialect
            .failures(operation)
            .into_iter()
            .map(|failing| (failing.name.clone(), dialect.about(failing)))
            .collect();
        if failures.is_empty() {
            self.sink.refuse(&operation.at, "this operation documents no failure, and every service can fail");
        }
        Plan {
            scopes: self.scopes(operation),
            refusals: dialect.refusals(operation, judged),
            constant: names::shouty(&operation.id),
            operation,
            module,
            function,
            name,
            parameters,
            body,
            successes,
            failures,
            caller,
        }
    }

    /// The scopes of every alternative must be the same: the gate is asked about one set.
    fn scopes(&self, operation: &Operation) -> Vec<String> {
        let mut scopes = operation.required_scopes.clone();
        let of_schemes: Vec<Vec<&String>> = operation
            .security
            .iter()
            .filter(|alternative| !alternative.schemes.is_empty())
            .map(|alternative| alternative.schemes.values().flatten().collect())
            .collect();
        if of_schemes.iter().any(|scopes| *scopes != of_schemes[0]) {
            self.sink.refuse_with_help(
                &operation.at,
                "the alternatives of `security` ask for different scopes",
                "use `x-required-scopes`, which holds for every scheme",
            );
        }
        for scope in of_schemes.into_iter().flatten() {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        if !scopes.is_empty() && operation.security.iter().all(|alternative| alternative.schemes.is_empty()) {
            self.sink.refuse(&operation.at, "this operation needs scopes, but no credential that could have them");
        }
        scopes
    }

    fn parameters(
        &mut self,
        operation: &'a Operation,
        name: &str,
        module: &str,
        dialect: &mut Dialect<'_>,
    ) -> Vec<PlannedParameter<'a>> {
        let mut taken = Names::default();
        if operation.body.is_some()
            && let Some(body) = &operation.body
        {
            // The body has this field; a parameter of the same name gets a longer one.
            let _ = taken.take("body", "the body", &body.at);
        }
        let path_order: Vec<&str> = operation.path_parameters().collect();
        let mut ordered: Vec<&Parameter> = operation.parameters.iter().collect();
        ordered.sort_by_key(|parameter| match parameter.place {
            ParameterPlace::Path => {
                path_order.iter().position(|name| *name == parameter.name).unwrap_or(usize::MAX - 1)
            }
            _ => usize::MAX,
        });
        let may_be_invalid = true;
        let mut planned = Vec::new();
        for parameter in ordered {
            // OpenAPI 3.1, "Parameter Object": these three are described elsewhere, and their parameters are ignored.
            let ignored = ["accept", "content-type", "authorization"];
            if parameter.place == ParameterPlace::Header && ignored.contains(&parameter.name.to_lowercase().as_str()) {
                continue;
            }
            if parameter.place == ParameterPlace::Path && !path_order.contains(&parameter.name.as_str()) {
                self.sink.refuse(&parameter.at, format!("the path has no `{{{}}}`", parameter.name));
                continue;
            }
            let mut rust = names::snake(&parameter.name);
            if taken.take(&rust, &parameter.name, &parameter.at).is_err() {
                rust = format!("{rust}_{}", parameter.place);
                if let Err((other, _)) = taken.take(&rust, &parameter.name, &parameter.at) {
                    self.sink.refuse(
                        &parameter.at,
                        format!("the parameters `{other}` and `{}` are both `{rust}` in Rust", parameter.name),
                    );
                    continue;
                }
            }
            if parameter.place == ParameterPlace::Header && parameter.name.parse::<http::HeaderName>().is_err() {
                self.sink.refuse(&parameter.at, format!("`{}` is not a header name", parameter.name));
                continue;
            }
            let Some((style, explode)) = self.style(parameter) else { continue };
            let shape = self.types.shape(
                &parameter.schema.value,
                &parameter.schema.at,
                &format!("{name}{}", names::pascal(&rust)),
            );
            if shape.nullable && style != "Json" {
                self.sink.refuse(&parameter.at, "null has no form outside of a body");
            }
            self.roots.push(Root { ty: shape.ty.clone(), module: module.to_owned(), incoming: true });
            let default = match parameter.required {
                true => None,
                false => self.types.default_for_parameter(&parameter.schema.value, &shape, &parameter.schema.at),
            };
            let standalone = self.contract.standalone(&parameter.schema, Direction::Request);
            let not_found = match parameter.place {
                ParameterPlace::Path if !self.takes_anything(&parameter.schema) => {
                    dialect.not_found(operation, &parameter.name, may_be_invalid)
                }
                _ => None,
            };
            let kind = if style == "Json" {
                quote! { Kind::Json }
            } else {
                self.kind(&parameter.schema.value, 0)
            };
            planned.push(PlannedParameter {
                parameter,
                rust,
                shape,
                schema: self.schemas.add(&standalone, &parameter.schema.at, self.sink),
                default,
                not_found,
                kind,
                style,
                explode,
            });
        }
        planned
    }

    /// Whether every text is a good value.
    fn takes_anything(&self, schema: &Schema) -> bool {
        let resolved = self.contract.resolve(schema);
        let narrow = ["enum", "const", "format", "pattern", "minLength", "maxLength", "allOf", "oneOf", "anyOf", "not"];
        resolved.value.get("type").is_some_and(|kind| kind == "string")
            && narrow.iter().all(|key| resolved.value.get(key).is_none())
    }

    fn style(&self, parameter: &Parameter) -> Option<(&'static str, bool)> {
        let (style, explode) = match &parameter.encoding {
            ParameterEncoding::Content(media_type) if is_json(media_type) => return Some(("Json", false)),
            ParameterEncoding::Content(media_type) => {
                self.sink.refuse(&parameter.at, format!("a parameter of the media type `{media_type}` cannot be read"));
                return None;
            }
            ParameterEncoding::Style { style, explode } => (*style, *explode),
        };
        let name = match (parameter.place, style) {
            (ParameterPlace::Path | ParameterPlace::Header, Style::Simple) => "Simple",
            (ParameterPlace::Query | ParameterPlace::Cookie, Style::Form) => "Form",
            (ParameterPlace::Query, Style::SpaceDelimited) => "SpaceDelimited",
            (ParameterPlace::Query, Style::PipeDelimited) => "PipeDelimited",
            (ParameterPlace::Query, Style::DeepObject) => "DeepObject",
            (place, style) => {
                self.sink.refuse(&parameter.at, format!("the style `{style:?}` in a {place} parameter cannot be read"));
                return None;
            }
        };
        Some((name, explode))
    }

    /// What a text of this schema stands for.
    fn kind(&self, schema: &Value, depth: usize) -> TokenStream {
        let Some(map) = schema.as_object().filter(|_| depth < 8) else { return quote! { Kind::String } };
        if let Some(target) = reference(map).and_then(|target| self.contract.schemas.get(target)) {
            return self.kind(&target.value, depth + 1);
        }
        if let Some([only]) = map.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            return self.kind(only, depth + 1);
        }
        let kinds: Vec<&str> = match map.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        // Of several kinds the narrowest is tried first; a text that is none of it stays a string.
        for kind in ["object", "array", "boolean", "integer", "number"] {
            if !kinds.contains(&kind) {
                continue;
            }
            return match kind {
                "object" => {
                    let properties = map.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
                    let members = self.members(&properties, depth);
                    let members = members.iter().map(|(name, kind)| quote! { (#name, #kind) });
                    let others = match map.get("additionalProperties") {
                        Some(Value::Bool(false)) => quote! { None },
                        Some(other @ Value::Object(_)) => {
                            let kind = self.kind(other, depth + 1);
                            quote! { Some(&#kind) }
                        }
                        _ => quote! { Some(&Kind::String) },
                    };
                    quote! { Kind::Object(&[#(#members),*], #others) }
                }
                "array" => {
                    let item = self.kind(map.get("items").unwrap_or(&Value::Null), depth + 1);
                    quote! { Kind::Array(&#item) }
                }
                "boolean" => quote! { Kind::Boolean },
                "integer" => quote! { Kind::Integer },
                _ => quote! { Kind::Number },
            };
        }
        quote! { Kind::String }
    }

    fn members(&self, properties: &Map<String, Value>, depth: usize) -> Vec<(String, TokenStream)> {
        properties.iter().map(|(name, schema)| (name.clone(), self.kind(schema, depth + 1))).collect()
    }

    fn body(&mut self, operation: &'a Operation, name: &str, module: &str) -> Option<PlannedBody<'a>> {
        let body = operation.body.as_ref()?;
        let first = body.media.first()?;
        let max_bytes = operation.max_body_bytes.unwrap_or(LARGEST_BODY);
        for other in &body.media[1..] {
            let same = is_json(&first.media_type)
                && is_json(&other.media_type)
                && other.schema.as_ref().map(|schema| &schema.value)
                    == first.schema.as_ref().map(|schema| &schema.value);
            let opaque = [first, other].iter().all(|media| matches!(self.form_of(media), Some("bytes")));
            if !same && !opaque {
                self.sink.refuse_with_help(
                    &other.at,
                    format!(
                        "a body may be `{}` or `{}`, and a handler can take one form only",
                        first.media_type, other.media_type
                    ),
                    "give each form its own operation",
                );
                return None;
            }
        }
        let Some(form) = self.form_of(first) else {
            self.sink.refuse(&first.at, format!("a body of the media type `{}` cannot be read", first.media_type));
            return None;
        };
        let hint = format!("{name}Body");
        let planned = |form, schema| Some(PlannedBody { body, form, schema, max_bytes });
        let schema = match (form, &first.schema) {
            ("bytes", _) => return planned(BodyForm::Bytes, None),
            ("text", None) => return planned(BodyForm::Text, None),
            (_, None) => {
                self.sink.refuse(&first.at, "a body without a schema has no type");
                return None;
            }
            (_, Some(schema)) => schema,
        };
        let standalone = self.contract.standalone(schema, Direction::Request);
        if form == "multipart" {
            let parts = self.parts(schema, first, name, module)?;
            let index = self.schemas.add(&without_files(&standalone), &schema.at, self.sink);
            return planned(BodyForm::Multipart(parts), Some(index));
        }
        let index = self.schemas.add(&standalone, &schema.at, self.sink);
        if form == "text" {
            return planned(BodyForm::Text, Some(index));
        }
        let shape = self.types.shape(&schema.value, &schema.at, &hint);
        self.roots.push(Root { ty: shape.ty.clone(), module: module.to_owned(), incoming: true });
        if form == "json" {
            return planned(BodyForm::Json(shape), Some(index));
        }
        let resolved = self.contract.resolve(schema);
        let properties = resolved.value.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        if properties.is_empty() {
            self.sink.refuse(&schema.at, "a form needs an object with properties");
        }
        let members = self.members(&properties, 0);
        planned(BodyForm::Form(shape, members), Some(index))
    }

    fn form_of(&self, media: &Media) -> Option<&'static str> {
        Some(match media.media_type.as_str() {
            media_type if is_json(media_type) => "json",
            "application/x-www-form-urlencoded" => "form",
            "multipart/form-data" => "multipart",
            media_type if media_type.starts_with("multipart/") => return None,
            media_type if media_type.starts_with("text/") && media_type != "text/*" => "text",
            _ => match &media.schema {
                None => "bytes",
                Some(schema) => {
                    let resolved = self.contract.resolve(schema);
                    if is_file(&resolved.value)
                        || resolved.value.as_object().is_some_and(Map::is_empty)
                        || *resolved.value == Value::Bool(true)
                    {
                        "bytes"
                    } else {
                        return None;
                    }
                }
            },
        })
    }

    fn parts(&mut self, schema: &Schema, media: &Media, name: &str, module: &str) -> Option<Vec<PlannedPart>> {
        let resolved = self.contract.resolve(schema).clone();
        let Some(properties) = resolved.value.get("properties").and_then(Value::as_object).cloned() else {
            self.sink.refuse(&schema.at, "a multipart form needs an object with properties");
            return None;
        };
        let required: Vec<String> = resolved
            .value
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let mut taken = Names::default();
        let mut parts = Vec::new();
        for (wire, property) in &properties {
            let at = below(&below(&resolved.at, "properties"), wire);
            let rust = names::snake(wire);
            if let Err((other, _)) = taken.take(&rust, wire, &at) {
                self.sink.refuse(&at, format!("the parts `{other}` and `{wire}` are both `{rust}` in Rust"));
                continue;
            }
            let whole = Schema { value: std::sync::Arc::new(property.clone()), at: at.clone(), origins: None };
            let followed = self.contract.resolve(&whole).value.clone();
            let items = followed.get("items").cloned();
            let repeated = followed.get("type").is_some_and(|kind| kind == "array");
            let file = is_file(&followed) || items.as_ref().is_some_and(is_file);
            let field = (!file).then(|| {
                let shape = self.types.shape(property, &at, &format!("{name}{}", names::pascal(wire)));
                self.roots.push(Root { ty: shape.ty.clone(), module: module.to_owned(), incoming: true });
                let kind = match followed.get("type").and_then(Value::as_str) {
                    // RFC 7578 has no form for objects; OpenAPI says JSON ("Encoding Object", `contentType`).
                    Some("object") => quote! { Kind::Json },
                    _ => self.kind(property, 0),
                };
                (shape, kind)
            });
            parts.push(PlannedPart {
                name: wire.clone(),
                rust,
                doc: property.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
                required: required.contains(wire),
                repeated,
                field,
                media_types: match media.part_types.get(wire) {
                    // The type of every file that the document says nothing about ("Encoding Object").
                    Some(types) if file && *types != ["application/octet-stream"] => types.clone(),
                    _ => Vec::new(),
                },
            });
        }
        Some(parts)
    }

    fn successes(&mut self, operation: &'a Operation, name: &str, module: &str) -> Vec<Success<'a>> {
        let mut successes = Vec::new();
        for response in &operation.responses {
            let status = match response.status {
                StatusPattern::Exact(status @ 200..=399) => status,
                StatusPattern::Range(2 | 3) => {
                    self.sink.refuse_with_help(
                        &response.at,
                        format!("`{}` promises every status, and a server needs to know which", response.status),
                        "list the statuses",
                    );
                    continue;
                }
                StatusPattern::Exact(400..=599) => {
                    self.failing_headers(response);
                    continue;
                }
                StatusPattern::Exact(status) => {
                    self.sink.refuse(&response.at, format!("an operation cannot answer {status}"));
                    continue;
                }
                StatusPattern::Range(_) | StatusPattern::Default => continue,
            };
            let variant = names::status(status);
            let (payload, media_type) = self.payload(response, status, &format!("{name}{variant}"), module);
            successes.push(Success { status, payload, media_type, headers: self.headers(response), variant, response });
        }
        let ranges = operation.responses.iter().any(|response| !matches!(response.status, StatusPattern::Exact(_)));
        if successes.is_empty() && !ranges {
            self.sink.refuse(&operation.at, "this operation documents no success");
        }
        successes
    }

    fn payload(&mut self, response: &Response, status: u16, name: &str, module: &str) -> (Payload, Option<String>) {
        let Some(media) = response.media.first() else { return (Payload::Empty, None) };
        if let Some(other) = response.media.get(1) {
            self.sink.refuse_with_help(
                &other.at,
                format!(
                    "an answer may be `{}` or `{}`, and one status can have one form only",
                    media.media_type, other.media_type
                ),
                "give each form its own operation or status",
            );
        }
        if matches!(status, 204 | 205 | 304) {
            self.sink.refuse(&media.at, format!("an answer {status} has no body (RFC 9110)"));
        }
        let media_type = Some(media.media_type.clone());
        let hint = format!("{name}Body");
        let mut typed = |schema: &Schema| {
            let shape = self.types.shape(&schema.value, &schema.at, &hint);
            self.roots.push(Root { ty: shape.ty.clone(), module: module.to_owned(), incoming: false });
            shape
        };
        let payload = match media.media_type.as_str() {
            media_type if is_json(media_type) => match &media.schema {
                Some(schema) => Payload::Json(typed(schema)),
                None => {
                    self.sink.refuse(&media.at, "an answer without a schema has no type");
                    Payload::Empty
                }
            },
            "text/event-stream" => match media.item_schema.as_ref().or(media.schema.as_ref()) {
                Some(schema) => Payload::Events(typed(schema)),
                None => Payload::Text,
            },
            media_type if media_type.contains('*') => {
                self.sink.refuse(&media.at, format!("an answer of `{media_type}` does not say what it is"));
                Payload::Bytes
            }
            media_type if media_type.starts_with("text/") => Payload::Text,
            _ => Payload::Bytes,
        };
        (payload, media_type)
    }

    /// Headers that the platform writes itself.
    fn is_platform_header(&self, name: &str) -> bool {
        let vocabulary = self.contract.vocabulary.as_ref();
        let limits = vocabulary.and_then(|vocabulary| vocabulary.rate_limits.as_ref());
        let same = |header: &Option<String>| header.as_deref().is_some_and(|header| header.eq_ignore_ascii_case(name));
        limits.is_some_and(|limits| {
            [&limits.headers.limit, &limits.headers.remaining, &limits.headers.reset].into_iter().any(same)
                || (limits.retry_after != RetryAfterForm::None && name.eq_ignore_ascii_case("retry-after"))
        }) || vocabulary.is_some_and(|vocabulary| same(&vocabulary.request_id_header))
            || ["content-type", "content-length", "www-authenticate", "date"].contains(&name.to_lowercase().as_str())
    }

    fn headers(&self, response: &Response) -> Vec<PlannedHeader> {
        let mut taken = Names::default();
        let mut headers = Vec::new();
        for header in response.headers.iter().filter(|header| !self.is_platform_header(&header.name)) {
            let rust = names::snake(&header.name);
            if header.name.parse::<http::HeaderName>().is_err() {
                self.sink.refuse(&header.at, format!("`{}` is not a header name", header.name));
                continue;
            }
            if rust == "body" || taken.take(&rust, &header.name, &header.at).is_err() {
                self.sink.refuse(&header.at, format!("another header is `{rust}` in Rust too"));
                continue;
            }
            let resolved = self.contract.resolve(&header.schema);
            let ty = match resolved.value.get("type").and_then(Value::as_str) {
                Some("string") | None => Type::String,
                Some("integer") => Type::I64,
                Some("boolean") => Type::Boolean,
                Some(other) => {
                    self.sink.refuse(&header.at, format!("a header of the type `{other}` cannot be written"));
                    continue;
                }
            };
            headers.push(PlannedHeader {
                wire: header.name.to_lowercase(),
                rust,
                doc: header.description.clone().unwrap_or_default(),
                required: header.required,
                ty,
            });
        }
        headers
    }

    fn failing_headers(&self, response: &Response) {
        for header in response.headers.iter().filter(|header| !self.is_platform_header(&header.name)) {
            self.sink.refuse_with_help(
                &header.at,
                format!("the header `{}` of a failing answer has no place in a typed problem", header.name),
                "say in x-contract that the platform writes it, or leave it out",
            );
        }
    }
}

/// JSON media types: `application/json`, and those that say so in their suffix (RFC 6839).
pub(super) fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

/// A property that is the content of a file.
fn is_file(schema: &Value) -> bool {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    text("format") == Some("binary") || (text("contentMediaType").is_some() && text("contentEncoding").is_none())
}

/// A multipart schema whose files are anything: their bytes are not JSON.
fn without_files(schema: &Value) -> Value {
    match schema {
        Value::Object(map) if is_file(schema) => {
            let _ = map;
            Value::Object(Map::new())
        }
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), without_files(value))).collect(),
        Value::Array(items) => items.iter().map(without_files).collect(),
        other => other.clone(),
    }
}

/// The path with its parameters' names left out.
fn shape_of(operation: &Operation) -> String {
    let piece = |piece: &PathPiece| match piece {
        PathPiece::Literal(text) => text.clone(),
        PathPiece::Parameter(_) => "{}".to_owned(),
    };
    operation.path.pieces.iter().map(piece).collect()
}
