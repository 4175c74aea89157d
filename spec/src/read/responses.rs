//! Responses, their headers and links.

use serde_json::{Value, json};

use super::{Node, Reader, Version};
use crate::contract::{Header, Link, LinkParameter, Operation, ParameterPlace, Response, Schema, StatusPattern};
use crate::document::Location;
use crate::problem::{Problem, did_you_mean};

/// Stands before the pointer of an `operationRef` until all operations are known; no operation id can start so.
const UNBOUND: char = '\u{1}';

impl<'d> Reader<'d> {
    /// Remembers the names of shared responses, wherever their text stands.
    pub(super) fn name_responses(&mut self, root: &Node<'d>, way: &[&str]) {
        for (key, node) in self.shared(root, way) {
            self.responses.insert(node.at.clone(), key.to_owned());
            if node.has("$ref")
                && let Some((home, _)) = self.follow(&node)
            {
                self.responses.entry(home.at).or_insert_with(|| key.to_owned());
            }
        }
    }

    pub(super) fn responses(&mut self, operation: &Node<'d>, root: &Node<'d>) -> Vec<Response> {
        let mut responses: Vec<Response> = Vec::new();
        for (key, node) in self.members(operation, "responses") {
            if key.starts_with("x-") {
                continue;
            }
            let Some(status) = status_pattern(key) else {
                let problem = Problem::new(format!("`{key}` is not a status")).at(&node.at);
                self.problem(problem.expected("a status such as 200, a range such as 2XX, or default"));
                continue;
            };
            if let Some(response) = self.response(status, &node, operation, root) {
                responses.push(response);
            }
        }
        if responses.is_empty() {
            self.note(Problem::new("this operation promises no response").at(&operation.at));
        }
        responses.sort_by_key(|response| match response.status {
            StatusPattern::Exact(status) => (status, 0),
            StatusPattern::Range(digit) => (u16::from(digit) * 100 + 99, 1),
            StatusPattern::Default => (u16::MAX, 2),
        });
        responses
    }

    fn response(
        &mut self,
        status: StatusPattern,
        node: &Node<'d>,
        operation: &Node<'d>,
        root: &Node<'d>,
    ) -> Option<Response> {
        if node.value.is_null() {
            return Some(Response {
                status,
                description: String::new(),
                headers: Vec::new(),
                media: Vec::new(),
                links: Vec::new(),
                component: None,
                at: node.at.clone(),
            });
        }
        let (node, first) = self.follow(node)?;
        if !node.value.is_object() {
            self.wrong_type(&node, "an object");
            return None;
        }
        let component =
            first.and_then(|first| self.responses.get(&first).or_else(|| self.responses.get(&node.at)).cloned());
        let mut headers = Vec::new();
        for (name, header) in self.members(&node, "headers") {
            // "If a response header is defined with the name "Content-Type", it SHALL be ignored" (OpenAPI 3.0.3, "Response
            // Object").
            if !name.eq_ignore_ascii_case("content-type")
                && let Some(header) = self.header(name, &header)
            {
                headers.push(header);
            }
        }
        let links = self.links(&node);
        Some(Response {
            status,
            description: self.text(&node, "description").unwrap_or_default(),
            headers,
            media: match self.version {
                Version::V20 => self.swagger_answer(&node, operation, root),
                _ => self.media(&node),
            },
            links,
            component,
            at: node.at,
        })
    }

    fn header(&mut self, name: &str, node: &Node<'d>) -> Option<Header> {
        let (node, _) = self.follow(node)?;
        if !node.value.is_object() {
            self.wrong_type(&node, "an object");
            return None;
        }
        if self.version == Version::V20 {
            return Some(Header {
                name: name.to_owned(),
                required: false,
                description: self.text(&node, "description"),
                schema: self.inline_schema(&node),
                explode: false,
                at: node.at,
            });
        }
        let schema = match node.get("schema") {
            Some(schema) => Some(schema),
            None => self.members(&node, "content").first().and_then(|(_, media)| media.get("schema")),
        };
        let schema = match schema {
            Some(schema) => self.schema(&schema),
            None => Schema { value: json!({}).into(), at: node.at.clone(), origins: None },
        };
        Some(Header {
            name: name.to_owned(),
            required: self.flag(&node, "required").unwrap_or_default(),
            description: self.text(&node, "description"),
            schema,
            explode: self.flag(&node, "explode").unwrap_or_default(),
            at: node.at,
        })
    }

    fn links(&mut self, response: &Node<'d>) -> Vec<Link> {
        let mut links = Vec::new();
        for (name, node) in self.members(response, "links") {
            let Some((node, _)) = self.follow(&node) else { continue };
            let target = match (self.text(&node, "operationId"), self.text(&node, "operationRef")) {
                (Some(id), _) => id,
                (None, Some(reference)) => match self.document.refer(node.at.file, &reference) {
                    Ok(place) => match self.lookup(&place, 0) {
                        Ok(operation) => format!("{UNBOUND}{}#{}", operation.at.file, operation.at.pointer),
                        Err(_) => format!("{UNBOUND}{reference}"),
                    },
                    Err(_) => format!("{UNBOUND}{reference}"),
                },
                (None, None) => {
                    self.note(Problem::new("a link without `operationId` or `operationRef` is left out").at(&node.at));
                    continue;
                }
            };
            let mut parameters = Vec::new();
            for (name, value) in self.members(&node, "parameters") {
                let (place, name) = match name.split_once('.') {
                    Some(("path", rest)) => (Some(ParameterPlace::Path), rest),
                    Some(("query", rest)) => (Some(ParameterPlace::Query), rest),
                    Some(("header", rest)) => (Some(ParameterPlace::Header), rest),
                    Some(("cookie", rest)) => (Some(ParameterPlace::Cookie), rest),
                    _ => (None, name),
                };
                parameters.push(LinkParameter { name: name.to_owned(), place, value: value.value.clone() });
            }
            let body = node.value.get("requestBody").filter(|value: &&Value| !value.is_null()).cloned();
            links.push(Link { name: name.to_owned(), target, parameters, body, at: node.at });
        }
        links
    }

    /// Turns `operationRef`s into ids, and leaves out links that lead nowhere: a broken link takes nothing from what the
    /// operations promise by themselves.
    pub(super) fn bind_links(&mut self, operations: &mut [Operation]) {
        let ids: Vec<(String, Location)> =
            operations.iter().map(|operation| (operation.id.clone(), operation.at.clone())).collect();
        for operation in operations {
            for response in &mut operation.responses {
                for mut link in std::mem::take(&mut response.links) {
                    let unbound = link.target.strip_prefix(UNBOUND);
                    let found = ids.iter().find(|(id, at)| match unbound {
                        Some(place) => format!("{}#{}", at.file, at.pointer) == place,
                        None => *id == link.target,
                    });
                    if let Some((id, _)) = found {
                        link.target = id.clone();
                        response.links.push(link);
                        continue;
                    }
                    let (key, help) = match unbound {
                        Some(_) => ("operationRef", None),
                        None => ("operationId", did_you_mean(&link.target, ids.iter().map(|(id, _)| id.as_str()))),
                    };
                    let at = link.at.join(key);
                    let problem = Problem::new("this link leads to no operation; it is left out").at(&at);
                    let found = self.document.value(&at).and_then(Value::as_str).unwrap_or_default();
                    self.note(problem.found(found).maybe_help(help));
                }
            }
        }
    }
}

/// `200`, `2XX` or `default` (OpenAPI 3.0.3, "Responses Object").
fn status_pattern(key: &str) -> Option<StatusPattern> {
    match key.as_bytes() {
        b"default" => Some(StatusPattern::Default),
        [digit @ b'1'..=b'5', b'X' | b'x', b'X' | b'x'] => Some(StatusPattern::Range(digit - b'0')),
        [_, _, _] => key.parse().ok().filter(|status| (100..=599).contains(status)).map(StatusPattern::Exact),
        _ => None,
    }
}
