//! Paths, operations, parameters and request bodies.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::{Node, Reader, Version};
use crate::contract::{
    Body, Media, Operation, Parameter, ParameterEncoding, ParameterPlace, PathPiece, PathTemplate, Schema,
    SecurityRequirement, Style, common_scopes,
};
use crate::document::Location;
use crate::problem::{Problem, did_you_mean};
use crate::vocabulary::{CodeReach, ContractVocabulary, Effect};

/// The methods of a path item (OpenAPI 3.2.0, "Path Item Object"); `query` since 3.2.
const METHODS: [&str; 9] = ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];

/// What stands around an operation.
struct Around<'a, 'd> {
    path: &'a PathTemplate,
    item: &'a Node<'d>,
    root: &'a Node<'d>,
    /// Parameters of the path item.
    shared: &'a [Parameter],
    security: &'a [SecurityRequirement],
    vocabulary: Option<&'a ContractVocabulary>,
}

/// `wanted`, or `wanted` with the first number from 2 that makes it free.
pub(super) fn unique_name(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(wanted) {
        return wanted.to_owned();
    }
    (2u64..).map(|number| format!("{wanted}{number}")).find(|name| !taken(name)).unwrap_or_default()
}

impl<'d> Reader<'d> {
    pub(super) fn operations(
        &mut self,
        root: &Node<'d>,
        security: &[SecurityRequirement],
        vocabulary: Option<&ContractVocabulary>,
    ) -> Vec<Operation> {
        if !root.has("paths") && !root.has("webhooks") && !root.has("components") {
            self.problem(
                Problem::new("the document has no `paths`")
                    .at(&root.at)
                    .help("an API without operations cannot be tested"),
            );
        }
        let mut operations = Vec::new();
        for (path, item) in self.members(root, "paths") {
            if !path.starts_with("x-") {
                self.path_item(path, &item, root, security, vocabulary, &mut operations);
            }
        }
        self.make_ids(&mut operations);
        self.bind_links(&mut operations);
        operations
    }

    fn path_item(
        &mut self,
        path: &str,
        item: &Node<'d>,
        root: &Node<'d>,
        security: &[SecurityRequirement],
        vocabulary: Option<&ContractVocabulary>,
        operations: &mut Vec<Operation>,
    ) {
        if item.value.is_null() {
            return;
        }
        let mut text = path.to_owned();
        if !text.starts_with('/') {
            self.note(Problem::new("a path starts with `/`").at(&item.at).found(path));
            text.insert(0, '/');
        }
        let template = PathTemplate::parse(&text);
        // A path item may be a reference and have members of its own (3.1: "the behavior is undefined"); ours come first.
        let mut sources = vec![item.clone()];
        if item.has("$ref") {
            let Some((target, _)) = self.follow(item) else { return };
            sources.push(target);
        }
        let mut seen = HashSet::new();
        for source in sources {
            if !source.value.is_object() {
                self.wrong_type(&source, "an object");
                continue;
            }
            let shared = self.parameters(&source);
            self.own_servers(&source);
            let known = METHODS.iter().filter(|method| **method != "query" || self.version >= Version::V32);
            let mut written: Vec<(String, Node<'d>)> =
                known.filter_map(|method| Some((method.to_uppercase(), source.get(method)?))).collect();
            // Methods without a key of their own are named as they stand on the wire.
            let further =
                if self.version >= Version::V32 { "additionalOperations" } else { "x-oai-additionalOperations" };
            written.extend(self.members(&source, further).into_iter().map(|(name, node)| (name.to_owned(), node)));
            for (method, node) in written {
                if !seen.insert(method.clone()) {
                    continue;
                }
                if !node.value.is_object() {
                    self.wrong_type(&node, "an object");
                    continue;
                }
                let Ok(method) = http::Method::from_bytes(method.as_bytes()) else {
                    self.problem(Problem::new(format!("`{method}` is not a method")).at(&node.at));
                    continue;
                };
                let around = Around { path: &template, item: &source, root, shared: &shared, security, vocabulary };
                let operation = self.operation(method, &node, &around);
                operations.push(operation);
            }
        }
    }

    fn operation(&mut self, method: http::Method, node: &Node<'d>, around: &Around<'_, 'd>) -> Operation {
        let Around { path, item, root, shared, security, vocabulary } = *around;
        self.own_servers(node);
        let mut parameters = self.parameters(node);
        for parameter in shared {
            if !parameters.iter().any(|own| own.place == parameter.place && own.name == parameter.name) {
                parameters.push(parameter.clone());
            }
        }
        self.agree_with_path(&mut parameters, path, node);
        let security = self.security(node).unwrap_or_else(|| security.to_vec());
        let secured = !security.is_empty() && security.iter().all(|alternative| !alternative.schemes.is_empty());
        let words = self.operation_vocabulary(node);
        let effect = words.effect.unwrap_or(match method {
            http::Method::GET | http::Method::HEAD | http::Method::OPTIONS | http::Method::TRACE => Effect::Read,
            http::Method::DELETE => Effect::Destroy,
            // Safe by definition (draft-ietf-httpbis-safe-method-w-body).
            _ if method.as_str() == "QUERY" => Effect::Read,
            _ => Effect::Write,
        });
        let error_codes = self.codes_of(node, &words.error_codes, vocabulary, secured);
        let required_scopes =
            if node.has("x-required-scopes") { words.required_scopes } else { common_scopes(&security) };
        Operation {
            id: self.text(node, "operationId").unwrap_or_default(),
            id_is_made: false,
            method,
            path: path.clone(),
            tag: self.texts(node, "tags").into_iter().next().unwrap_or_else(|| "default".into()),
            summary: self.text(node, "summary"),
            description: self.text(node, "description"),
            deprecated: self.flag(node, "deprecated").unwrap_or_default(),
            parameters,
            body: if self.version == Version::V20 { self.swagger_body(node, item, root) } else { self.body(node) },
            responses: self.responses(node, root),
            security,
            required_scopes,
            rate_limits: words.rate_limits,
            quotas: words.quotas,
            error_codes,
            visibility: words.visibility,
            effect,
            beyond_schema: words.beyond_schema,
            max_body_bytes: words.max_body_bytes.or(vocabulary.and_then(|vocabulary| vocabulary.max_body_bytes)),
            provenance: words.provenance,
            at: node.at.clone(),
        }
    }

    fn own_servers(&mut self, node: &Node<'d>) {
        if node.has("servers") {
            let problem =
                Problem::new("servers that only some operations have are not read").at(&node.at.join("servers"));
            self.note(problem);
        }
    }

    /// The codes of an operation, in the order of the catalogue.
    fn codes_of(
        &mut self,
        node: &Node<'d>,
        listed: &[String],
        vocabulary: Option<&ContractVocabulary>,
        secured: bool,
    ) -> Vec<String> {
        let Some(vocabulary) = vocabulary else { return listed.to_vec() };
        for (index, code) in listed.iter().enumerate() {
            if !vocabulary.error_codes.contains_key(code) {
                let at = node.at.join("x-error-codes").join(&index.to_string());
                let help = did_you_mean(code, vocabulary.error_codes.keys().map(String::as_str));
                let problem = Problem::new(format!("the error code `{code}` is not in the catalogue")).at(&at);
                self.problem(problem.expected("a key of x-contract.error-codes").maybe_help(help));
            }
        }
        let reaches = |reach| match reach {
            CodeReach::Listed => false,
            CodeReach::EveryOperation => true,
            CodeReach::SecuredOperations => secured,
        };
        let codes = vocabulary.error_codes.iter();
        codes.filter(|(code, entry)| reaches(entry.on) || listed.contains(code)).map(|(code, _)| code.clone()).collect()
    }

    /// Ids for operations without one, from method and path; a written id must be unique.
    fn make_ids(&mut self, operations: &mut [Operation]) {
        let mut first: HashMap<String, Location> = HashMap::new();
        for operation in operations.iter().filter(|operation| !operation.id.is_empty()) {
            if let Some(at) = first.get(&operation.id) {
                let problem = Problem::new(format!("the operationId `{}` is used twice", operation.id));
                let problem = problem.at(&operation.at.join("operationId"));
                self.problem(problem.help(format!("first at {}", self.document.describe(at))));
            } else {
                first.insert(operation.id.clone(), operation.at.join("operationId"));
            }
        }
        let mut taken: HashSet<String> = first.into_keys().collect();
        for operation in operations.iter_mut().filter(|operation| operation.id.is_empty()) {
            let mut id = operation.method.as_str().to_lowercase();
            let words = operation.path.text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            for word in words {
                id.push('_');
                id.push_str(word);
            }
            operation.id = unique_name(&id, |id| taken.contains(id));
            operation.id_is_made = true;
            taken.insert(operation.id.clone());
        }
    }

    // --------------------------------------------------------------------------------------------- parameters

    fn parameters(&mut self, node: &Node<'d>) -> Vec<Parameter> {
        let mut parameters: Vec<Parameter> = Vec::new();
        for item in self.items(node, "parameters") {
            let Some((item, _)) = self.follow(&item) else { continue };
            if self.version >= Version::V32 && item.value.get("in").and_then(Value::as_str) == Some("querystring") {
                self.query_string(&item, &mut parameters);
                continue;
            }
            let Some(parameter) = self.parameter(&item) else { continue };
            let twin = parameters.iter().find(|other| other.place == parameter.place && other.name == parameter.name);
            if let Some(twin) = twin {
                // The same shared parameter referred to twice says nothing new.
                if twin.at != parameter.at {
                    let first = self.document.describe(&twin.at);
                    let problem = Problem::new(format!("the parameter `{}` is there twice", parameter.name));
                    self.problem(problem.at(&parameter.at).help(format!("first at {first}")));
                }
                continue;
            }
            parameters.push(parameter);
        }
        parameters
    }

    fn parameter(&mut self, node: &Node<'d>) -> Option<Parameter> {
        if !node.value.is_object() {
            self.wrong_type(node, "an object");
            return None;
        }
        let (Some(name), Some(place)) = (self.text(node, "name"), self.text(node, "in")) else {
            self.problem(Problem::new("a parameter needs `name` and `in`").at(&node.at));
            return None;
        };
        let place = match place.as_str() {
            "path" => ParameterPlace::Path,
            "query" => ParameterPlace::Query,
            "header" => ParameterPlace::Header,
            "cookie" if self.version > Version::V20 => ParameterPlace::Cookie,
            // Read with the operation: together they are its body.
            "body" | "formData" if self.version == Version::V20 => return None,
            other => {
                let at = node.at.join("in");
                let problem = Problem::new(format!("a parameter cannot stand in `{other}`")).at(&at);
                let problem = problem.expected(match self.version {
                    Version::V20 => "path, query, header, body or formData",
                    Version::V32 => "path, query, querystring, header or cookie",
                    _ => "path, query, header or cookie",
                });
                let body = matches!(other, "body" | "formData").then(|| "use `requestBody`".to_owned());
                self.problem(problem.maybe_help(body));
                return None;
            }
        };
        // "If in is "header" and the name field is "Accept", "Content-Type" or "Authorization", the parameter definition SHALL
        // be ignored" (OpenAPI 3.0.3, "Parameter Object").
        let ignored = ["accept", "content-type", "authorization"];
        if place == ParameterPlace::Header && ignored.contains(&name.to_lowercase().as_str()) {
            return None;
        }
        let mut required = self.flag(node, "required").unwrap_or_default();
        if place == ParameterPlace::Path && !required {
            self.note(Problem::new(format!("the path parameter `{name}` is not marked as required")).at(&node.at));
            required = true;
        }
        let (schema, encoding, source) = match self.version {
            Version::V20 => self.swagger_parameter(node, place),
            _ => self.parameter_schema(node, place),
        };
        Some(Parameter {
            allow_reserved: self.flag(node, "allowReserved").unwrap_or_default(),
            description: self.text(node, "description"),
            examples: self.examples(
                source.as_ref().map_or(node, |(holder, _)| holder),
                source.as_ref().map(|(_, schema)| schema),
            ),
            deprecated: self.flag(node, "deprecated").unwrap_or_default(),
            at: node.at.clone(),
            name,
            place,
            required,
            encoding,
            schema,
        })
    }

    /// The schema of a parameter, how it is written, and the nodes that have its examples: the holder and the schema.
    #[allow(clippy::type_complexity, reason = "one caller, three answers of one look")]
    fn parameter_schema(
        &mut self,
        node: &Node<'d>,
        place: ParameterPlace,
    ) -> (Schema, ParameterEncoding, Option<(Node<'d>, Node<'d>)>) {
        let anything = || Schema { value: json!({}).into(), at: node.at.clone(), origins: None };
        let content = self.members(node, "content");
        if let Some((media_type, media)) = content.first() {
            if content.len() > 1 {
                let problem = Problem::new("a parameter has one media type; only the first is read");
                self.note(problem.at(&node.at.join("content")));
            }
            let encoding = ParameterEncoding::Content(plain_media_type(media_type));
            let Some((media, _)) = self.follow(media) else { return (anything(), encoding, None) };
            return match media.get("schema") {
                Some(schema) => (self.schema(&schema), encoding, Some((media, schema))),
                None => (anything(), encoding, None),
            };
        }
        let style = self.style(node, place);
        let explode = self.flag(node, "explode").unwrap_or(style == Style::Form);
        let encoding = ParameterEncoding::Style { style, explode };
        match node.get("schema") {
            Some(schema) => (self.schema(&schema), encoding, Some((node.clone(), schema))),
            None => {
                self.note(Problem::new("a parameter without a schema takes anything").at(&node.at));
                (anything(), encoding, None)
            }
        }
    }

    /// The style, or the default of the place (OpenAPI 3.0.3, "Parameter Object", `style`).
    fn style(&mut self, node: &Node<'d>, place: ParameterPlace) -> Style {
        use ParameterPlace::{Cookie, Header, Path, Query};
        let default = if matches!(place, Path | Header) { Style::Simple } else { Style::Form };
        let Some(text) = self.text(node, "style") else { return default };
        let style = match (text.as_str(), place) {
            ("simple", Path | Header) => Some(Style::Simple),
            ("label", Path) => Some(Style::Label),
            ("matrix", Path) => Some(Style::Matrix),
            // `cookie` of 3.2 is `form` as browsers write it: what differs is refused by who writes cookies.
            ("form", Query | Cookie) | ("cookie", Cookie) => Some(Style::Form),
            ("spaceDelimited", Query) => Some(Style::SpaceDelimited),
            ("pipeDelimited", Query) => Some(Style::PipeDelimited),
            ("deepObject", Query) => Some(Style::DeepObject),
            _ => None,
        };
        style.unwrap_or_else(|| {
            let known = match place {
                Path => "simple, label or matrix",
                Query => "form, spaceDelimited, pipeDelimited or deepObject",
                Header => "simple",
                Cookie => "form",
            };
            let problem = Problem::new(format!("the style `{text}` is not possible here; the default is taken"));
            self.note(problem.at(&node.at.join("style")).expected(known));
            default
        })
    }

    /// Path parameters and the path's template must name the same things.
    fn agree_with_path(&mut self, parameters: &mut Vec<Parameter>, path: &PathTemplate, node: &Node<'d>) {
        let in_template =
            |name: &str| path.pieces.iter().any(|piece| matches!(piece, PathPiece::Parameter(other) if other == name));
        let mut kept = Vec::new();
        for parameter in parameters.drain(..) {
            if parameter.place == ParameterPlace::Path && !in_template(&parameter.name) {
                let problem =
                    Problem::new(format!("the path has no `{{{}}}`; the parameter is left out", parameter.name));
                self.note(problem.at(&parameter.at).found(path.text.clone()));
            } else {
                kept.push(parameter);
            }
        }
        *parameters = kept;
        for piece in &path.pieces {
            let PathPiece::Parameter(name) = piece else { continue };
            let known = |parameter: &Parameter| parameter.place == ParameterPlace::Path && parameter.name == *name;
            if parameters.iter().any(known) {
                continue;
            }
            let problem = Problem::new(format!("the path parameter `{name}` is not declared; it is read as a text"));
            self.note(problem.at(&node.at).found(path.text.clone()));
            parameters.push(Parameter {
                name: name.clone(),
                place: ParameterPlace::Path,
                required: true,
                encoding: ParameterEncoding::Style { style: Style::Simple, explode: false },
                allow_reserved: false,
                schema: Schema { value: json!({"type": "string"}).into(), at: node.at.clone(), origins: None },
                description: None,
                examples: Vec::new(),
                deprecated: false,
                at: node.at.clone(),
            });
        }
    }

    /// `in: querystring` of 3.2: the whole query as one value. A form of an object is what its properties are one by one;
    /// other media types have no query parameters that they could become.
    fn query_string(&mut self, node: &Node<'d>, parameters: &mut Vec<Parameter>) {
        let content = self.members(node, "content");
        let form = content.iter().find(|(name, _)| plain_media_type(name) == "application/x-www-form-urlencoded");
        let whole = form.and_then(|(_, media)| Some((media.clone(), media.get("schema")?)));
        let object = whole.and_then(|(media, schema)| {
            let (target, _) = self.follow(&schema)?;
            target.get("properties").map(|_| (media, target))
        });
        let Some((media, schema)) = object else {
            let problem = Problem::new("a query string is read as a form of an object with `properties`").at(&node.at);
            let problem = problem.help("describe the parameters one by one, with `in: query`");
            if self.flag(node, "required").unwrap_or_default() {
                self.problem(problem);
            } else {
                self.note(problem);
            }
            return;
        };
        let styles = self.part_styles(&media);
        let required = self.texts(&schema, "required");
        for (name, property) in self.members(&schema, "properties") {
            let form = ParameterEncoding::Style { style: Style::Form, explode: true };
            parameters.push(Parameter {
                name: name.to_owned(),
                place: ParameterPlace::Query,
                required: required.iter().any(|required| required == name),
                encoding: styles.get(name).cloned().unwrap_or(form),
                allow_reserved: false,
                description: self.text(&property, "description"),
                examples: self.examples(&property, Some(&property)),
                deprecated: self.flag(node, "deprecated").unwrap_or_default(),
                schema: self.schema(&property),
                at: property.at,
            });
        }
    }

    // ------------------------------------------------------------------------------------------------- bodies

    fn body(&mut self, node: &Node<'d>) -> Option<Body> {
        let body = node.get("requestBody")?;
        let (body, _) = self.follow(&body)?;
        let media = self.media(&body);
        if media.is_empty() {
            self.note(Problem::new("a request body without a media type is left out").at(&body.at));
            return None;
        }
        Some(Body {
            required: self.flag(&body, "required").unwrap_or_default(),
            description: self.text(&body, "description"),
            media,
            at: body.at,
        })
    }

    /// `content` of a body or response.
    pub(super) fn media(&mut self, node: &Node<'d>) -> Vec<Media> {
        let mut found: Vec<Media> = Vec::new();
        for (name, item) in self.members(node, "content") {
            let Some((item, _)) = self.follow(&item) else { continue };
            let media_type = plain_media_type(name);
            if !media_type.contains('/') {
                self.note(Problem::new(format!("`{name}` is not a media type")).at(&item.at).expected("type/subtype"));
            }
            if found.iter().any(|media| media.media_type == media_type) {
                let problem = Problem::new(format!("`{media_type}` is there already; this one is left out"));
                self.note(problem.at(&item.at));
                continue;
            }
            if !item.value.is_object() && !item.value.is_null() {
                self.wrong_type(&item, "an object");
                continue;
            }
            let schema_node = item.get("schema");
            let schema = schema_node.as_ref().map(|schema| self.schema(schema));
            let own_items = item.get("itemSchema").map(|schema| self.schema(&schema));
            let streams = is_stream(&media_type);
            // Until 3.2 there was no word for the items, and `schema` is what authors used; in 3.2 it is the whole, a list.
            let listed = schema_node.as_ref().filter(|_| streams && self.version >= Version::V32).and_then(|schema| {
                let (schema, _) = self.follow(schema)?;
                schema.get("items")
            });
            let item_schema = match (own_items, listed) {
                (Some(items), _) => Some(items),
                (None, Some(items)) => Some(self.schema(&items)),
                (None, None) => schema.clone().filter(|_| streams),
            };
            // Problem details have one shape wherever they are.
            let problem = media_type == "application/problem+json";
            let schema = schema.or_else(|| {
                problem.then(|| Schema { value: problem_details().into(), at: item.at.clone(), origins: None })
            });
            found.push(Media {
                part_styles: self.part_styles(&item),
                part_types: self.part_types(&item, schema_node.as_ref(), &media_type),
                item_schema,
                examples: self.examples(&item, schema_node.as_ref()),
                at: item.at,
                media_type,
                schema,
            });
        }
        found
    }

    /// `style` and `explode` of each part (OpenAPI 3.0.3, "Encoding Object").
    fn part_styles(&mut self, media: &Node<'d>) -> IndexMap<String, ParameterEncoding> {
        let mut styles = IndexMap::new();
        for (property, encoding) in self.members(media, "encoding") {
            if encoding.has("style") || encoding.has("explode") {
                let style = self.style(&encoding, ParameterPlace::Query);
                let explode = self.flag(&encoding, "explode").unwrap_or(style == Style::Form);
                styles.insert(property.to_owned(), ParameterEncoding::Style { style, explode });
            }
        }
        styles
    }

    /// What `encoding` says of each part; for multipart bodies also the defaults (OpenAPI 3.0.3, "Encoding Object",
    /// `contentType`).
    fn part_types(
        &mut self,
        media: &Node<'d>,
        schema: Option<&Node<'d>>,
        media_type: &str,
    ) -> IndexMap<String, Vec<String>> {
        let mut types = IndexMap::new();
        for (property, encoding) in self.members(media, "encoding") {
            if let Some(text) = self.text(&encoding, "contentType") {
                let list = text.split(',').map(plain_media_type).filter(|text| !text.is_empty()).collect();
                types.insert(property.to_owned(), list);
            }
        }
        let Some(schema) = schema.filter(|_| media_type.starts_with("multipart/")) else { return types };
        let Some((schema, _)) = self.follow(schema) else { return types };
        for (property, schema) in self.members(&schema, "properties") {
            if types.contains_key(property) {
                continue;
            }
            let Some((schema, _)) = self.follow(&schema) else { continue };
            types.insert(property.to_owned(), vec![default_part_type(schema.value).to_owned()]);
        }
        types
    }
}

fn default_part_type(schema: &Value) -> &'static str {
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or(""),
        _ => "",
    };
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "string" if matches!(format, "binary" | "byte") => "application/octet-stream",
        // 3.1: a schema that says nothing of the value's type is raw bytes.
        "" if schema.get("contentMediaType").is_some() => "application/octet-stream",
        "array" => schema.get("items").map_or("application/json", default_part_type),
        "string" | "integer" | "number" | "boolean" => "text/plain",
        _ => "application/json",
    }
}

/// The members of problem details that have a meaning (RFC 9457, section 3.1); all may be absent, others may be there.
fn problem_details() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "status": {"type": "integer", "minimum": 100, "maximum": 599},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "instance": {"type": "string", "format": "uri-reference"},
        },
    })
}

/// Media types of many items, one after the other (OpenAPI 3.2.0, "Sequential Media Types").
fn is_stream(media_type: &str) -> bool {
    matches!(
        media_type,
        "text/event-stream"
            | "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/json-seq"
    ) || media_type.ends_with("+json-seq")
}

/// Lower case, without parameters: `Application/JSON; charset=utf-8` is `application/json`.
pub(super) fn plain_media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_lowercase()
}
