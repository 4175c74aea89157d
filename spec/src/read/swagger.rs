//! What only Swagger 2.0 has: bodies among the parameters, media types beside them, schemas inside of them.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::operations::plain_media_type;
use super::{Node, Reader};
use crate::contract::{Body, Example, Media, ParameterEncoding, ParameterPlace, Schema, Style};
use crate::document::push_token;
use crate::problem::Problem;

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

impl<'d> Reader<'d> {
    /// `schemes`, `host` and `basePath` as URLs; without a host, the path alone.
    pub(super) fn swagger_servers(&mut self, root: &Node<'d>) -> Vec<String> {
        let path = self.text(root, "basePath").unwrap_or_default();
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() || path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let Some(host) = self.text(root, "host").filter(|host| !host.is_empty()) else {
            return vec![if path.is_empty() { "/".into() } else { path }];
        };
        let schemes = self.texts(root, "schemes");
        let schemes: Vec<&str> =
            schemes.iter().map(String::as_str).filter(|one| matches!(*one, "http" | "https")).collect();
        // "If the schemes is not included, the default scheme to be used is the one used to access" the document: nobody knows.
        let schemes = if schemes.is_empty() { vec!["https"] } else { schemes };
        schemes.into_iter().map(|scheme| format!("{scheme}://{host}{path}")).collect()
    }

    /// A parameter outside of the body: its schema is the parameter itself.
    #[allow(clippy::type_complexity, reason = "the same answers as for the later versions")]
    pub(super) fn swagger_parameter(
        &mut self,
        node: &Node<'d>,
        place: ParameterPlace,
    ) -> (Schema, ParameterEncoding, Option<(Node<'d>, Node<'d>)>) {
        if node.value.get("type").and_then(Value::as_str) == Some("file") {
            let problem = Problem::new("a file stands in the body only").at(&node.at.join("type"));
            self.problem(problem.help("make it `in: formData`"));
        }
        let encoding = self.collection(node, place);
        if let (Some(schema), false) = (node.get("schema"), node.has("type")) {
            let problem =
                Problem::new("a parameter outside of the body has no `schema` in Swagger 2.0; it is read all the same");
            self.note(problem.at(&schema.at));
            return (self.schema(&schema), encoding, Some((node.clone(), schema)));
        }
        if !node.has("type") {
            self.note(Problem::new("a parameter without a type takes anything").at(&node.at));
        }
        (self.inline_schema(node), encoding, Some((node.clone(), node.clone())))
    }

    /// `collectionFormat` (2.0, "Parameter Object") as the style that writes the same.
    fn collection(&mut self, node: &Node<'d>, place: ParameterPlace) -> ParameterEncoding {
        let plain =
            if matches!(place, ParameterPlace::Path | ParameterPlace::Header) { Style::Simple } else { Style::Form };
        let (style, explode) = match self.text(node, "collectionFormat").as_deref() {
            None | Some("csv") => (plain, false),
            Some("ssv") => (Style::SpaceDelimited, false),
            Some("tsv") => (Style::TabDelimited, false),
            Some("pipes") => (Style::PipeDelimited, false),
            Some("multi") if place == ParameterPlace::Query => (Style::Form, true),
            Some(other) => {
                let problem =
                    Problem::new(format!("the collectionFormat `{other}` is not possible here; `csv` is taken"));
                let known = if place == ParameterPlace::Query {
                    "csv, ssv, tsv, pipes or multi"
                } else {
                    "csv, ssv, tsv or pipes"
                };
                self.note(problem.at(&node.at.join("collectionFormat")).expected(known));
                (plain, false)
            }
        };
        ParameterEncoding::Style { style, explode }
    }

    /// `consumes` or `produces` of the operation, else of the document; the first media type of each name.
    fn media_types(&mut self, operation: &Node<'d>, root: &Node<'d>, key: &str) -> Vec<String> {
        let holder = if operation.has(key) { operation } else { root };
        let mut types: Vec<String> = Vec::new();
        for text in self.texts(holder, key) {
            let plain = plain_media_type(&text);
            if !plain.contains('/') {
                let problem = Problem::new(format!("`{text}` is not a media type")).at(&holder.at.join(key));
                self.note(problem.expected("type/subtype"));
            } else if !types.contains(&plain) {
                types.push(plain);
            }
        }
        types
    }

    /// The parameters that make the body: those of the operation, then those of the path item that it does not replace.
    fn body_parameters(&mut self, operation: &Node<'d>, item: &Node<'d>) -> Vec<Node<'d>> {
        let mut found: Vec<Node<'d>> = Vec::new();
        for holder in [operation, item] {
            for parameter in self.items(holder, "parameters") {
                let before = self.problems.len();
                let Some((parameter, _)) = self.follow(&parameter) else {
                    // The look for other parameters has said it.
                    self.problems.truncate(before);
                    continue;
                };
                let says = |node: &Node<'d>, key: &str| node.value.get(key).and_then(Value::as_str).map(str::to_owned);
                let place = says(&parameter, "in");
                if !matches!(place.as_deref(), Some("body" | "formData")) {
                    continue;
                }
                let same = |other: &Node<'d>| {
                    says(other, "in") == place
                        && (place.as_deref() == Some("body") || says(other, "name") == says(&parameter, "name"))
                };
                match found.iter().find(|other| same(other)) {
                    // A second body, or a second field of the same name, beside the first.
                    Some(twin) if holder.at == operation.at && twin.at != parameter.at => {
                        let first = self.document.describe(&twin.at);
                        let problem = Problem::new(match place.as_deref() {
                            Some("body") => "an operation has one body".to_owned(),
                            _ => format!("the field `{}` is there twice", says(&parameter, "name").unwrap_or_default()),
                        });
                        self.problem(problem.at(&parameter.at).help(format!("first at {first}")));
                    }
                    Some(_) => {}
                    None => found.push(parameter),
                }
            }
        }
        found
    }

    /// The body of an operation: its `body` parameter, or its `formData` parameters together.
    pub(super) fn swagger_body(&mut self, operation: &Node<'d>, item: &Node<'d>, root: &Node<'d>) -> Option<Body> {
        let parameters = self.body_parameters(operation, item);
        let consumes = self.media_types(operation, root, "consumes");
        let body = parameters.iter().find(|node| node.value.get("in").and_then(Value::as_str) == Some("body"));
        let Some(body) = body else { return self.form_body(&parameters, &consumes) };
        if let Some(field) = parameters.iter().find(|node| node.at != body.at) {
            let problem = Problem::new("`body` and `formData` cannot stand together").at(&field.at);
            self.problem(problem.help(format!("the body is at {}", self.document.describe(&body.at))));
            return None;
        }
        let schema_node = body.get("schema");
        if schema_node.is_none() {
            self.note(Problem::new("a body without a `schema` takes anything").at(&body.at));
        }
        let schema = schema_node.as_ref().map(|schema| self.schema(schema));
        let mut types: Vec<String> = consumes.into_iter().filter(|kind| kind != FORM && kind != MULTIPART).collect();
        if types.is_empty() {
            types.push("application/json".into());
        }
        let examples = self.examples(body, schema_node.as_ref());
        let media = types.into_iter().map(|media_type| Media {
            media_type,
            schema: schema.clone(),
            examples: examples.clone(),
            part_types: IndexMap::new(),
            part_styles: IndexMap::new(),
            item_schema: None,
            at: body.at.clone(),
        });
        Some(Body {
            required: self.flag(body, "required").unwrap_or_default(),
            description: self.text(body, "description"),
            media: media.collect(),
            at: body.at.clone(),
        })
    }

    /// An object with a property for each field; each property knows the parameter it comes from.
    fn form_body(&mut self, fields: &[Node<'d>], consumes: &[String]) -> Option<Body> {
        let first = fields.first()?;
        let (mut properties, mut required, mut origins) = (Map::new(), Vec::new(), Vec::new());
        let (mut part_styles, mut part_types, mut files) = (IndexMap::new(), IndexMap::new(), false);
        let (mut example, mut whole) = (Map::new(), true);
        for field in fields {
            let Some(name) = self.text(field, "name") else {
                self.problem(Problem::new("a parameter needs `name` and `in`").at(&field.at));
                continue;
            };
            let is_file = field.value.get("type").and_then(Value::as_str) == Some("file");
            let schema = match (field.get("schema"), field.has("type")) {
                (Some(schema), false) => self.schema(&schema),
                _ => self.inline_schema(field),
            };
            let mut pointer = "/properties".to_owned();
            push_token(&mut pointer, &name);
            origins.push((pointer, schema.at.clone()));
            if self.flag(field, "required").unwrap_or_default() {
                origins.push((format!("/required/{}", required.len()), field.at.join("required")));
                required.push(Value::String(name.clone()));
            }
            let is_list = field.value.get("type").and_then(Value::as_str) == Some("array");
            let binary = is_file || schema.value.get("format").and_then(Value::as_str) == Some("binary");
            files |= is_file;
            part_types.insert(
                name.clone(),
                vec![if binary { "application/octet-stream".to_owned() } else { "text/plain".to_owned() }],
            );
            if is_list {
                part_styles.insert(name.clone(), self.collection(field, ParameterPlace::Query));
            }
            match field
                .value
                .get("x-example")
                .or_else(|| field.value.get("example"))
                .or_else(|| field.value.get("default"))
            {
                Some(value) => {
                    example.insert(name.clone(), value.clone());
                }
                None => whole &= !required.iter().any(|required| required.as_str() == Some(&name)),
            }
            properties.insert(name, (*schema.value).clone());
        }
        let mut value = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            value["required"] = Value::Array(required);
        }
        let body_required = value.get("required").is_some();
        let at = first.at.clone();
        let schema = Schema { value: value.into(), at: at.clone(), origins: Some(origins.into()) };
        let mut types: Vec<&str> =
            [MULTIPART, FORM].into_iter().filter(|kind| consumes.iter().any(|own| own == kind)).collect();
        if files {
            if types == [FORM] {
                let problem = Problem::new("files need `consumes: [multipart/form-data]`; that is taken").at(&at);
                self.note(problem);
            }
            types = vec![MULTIPART];
        } else if types.is_empty() {
            types.push(FORM);
        }
        let examples = if whole && !example.is_empty() {
            vec![Example { name: "default".into(), value: Value::Object(example), at: at.clone() }]
        } else {
            Vec::new()
        };
        let media = types.into_iter().map(|media_type| Media {
            media_type: media_type.to_owned(),
            schema: Some(schema.clone()),
            examples: examples.clone(),
            part_types: if media_type == MULTIPART { part_types.clone() } else { IndexMap::new() },
            part_styles: if media_type == FORM { part_styles.clone() } else { IndexMap::new() },
            item_schema: None,
            at: at.clone(),
        });
        Some(Body { required: body_required, description: None, media: media.collect(), at })
    }

    /// What a response has for a body: its schema in each of the media types that the operation produces.
    pub(super) fn swagger_answer(&mut self, response: &Node<'d>, operation: &Node<'d>, root: &Node<'d>) -> Vec<Media> {
        let Some(schema_node) = response.get("schema") else { return Vec::new() };
        let schema = self.schema(&schema_node);
        let mut types = self.media_types(operation, root, "produces");
        if types.is_empty() {
            // The document does not say; whatever comes is judged by what it says it is.
            types.push("*/*".into());
        }
        let of_schema = self.examples(response, Some(&schema_node));
        let written = self.members(response, "examples");
        let media = types.into_iter().map(|media_type| {
            let own = written.iter().filter(|(name, _)| plain_media_type(name) == media_type);
            let own = own.map(|(name, node)| Example {
                name: (*name).to_owned(),
                value: node.value.clone(),
                at: node.at.clone(),
            });
            Media {
                examples: own
                    .chain(of_schema.iter().filter(|one| one.at.pointer.starts_with(&*schema_node.at.pointer)).cloned())
                    .collect(),
                schema: Some(schema.clone()),
                part_types: IndexMap::new(),
                part_styles: IndexMap::new(),
                item_schema: None,
                at: response.at.clone(),
                media_type,
            }
        });
        media.collect()
    }
}
