//! Security schemes and requirements.

use indexmap::IndexMap;
use serde_json::Value;

use super::{Node, Reader};
use crate::contract::{ParameterPlace, SecurityKind, SecurityRequirement, SecurityScheme};
use crate::problem::{Problem, did_you_mean};

impl<'d> Reader<'d> {
    pub(super) fn security_schemes(&mut self, components: Option<&Node<'d>>) -> IndexMap<String, SecurityScheme> {
        let mut schemes = IndexMap::new();
        let Some(components) = components else { return schemes };
        for (name, node) in self.members(components, "securitySchemes") {
            let Some((node, _)) = self.follow(&node) else { continue };
            let Some(kind) = self.security_kind(&node) else { continue };
            let scheme = SecurityScheme {
                name: name.to_owned(),
                kind,
                description: self.text(&node, "description"),
                credential: self.credential(&node),
                at: node.at,
            };
            schemes.insert(name.to_owned(), scheme);
        }
        schemes
    }

    /// OpenAPI 3.0.3, "Security Scheme Object".
    fn security_kind(&mut self, node: &Node<'d>) -> Option<SecurityKind> {
        let Some(kind) = self.text(node, "type") else {
            self.problem(Problem::new("a security scheme needs a `type`").at(&node.at));
            return None;
        };
        Some(match kind.as_str() {
            "apiKey" => {
                let (Some(name), Some(place)) = (self.text(node, "name"), self.text(node, "in")) else {
                    self.problem(Problem::new("an apiKey scheme needs `name` and `in`").at(&node.at));
                    return None;
                };
                let place = match place.as_str() {
                    "header" => ParameterPlace::Header,
                    "query" => ParameterPlace::Query,
                    "cookie" => ParameterPlace::Cookie,
                    other => {
                        let problem = Problem::new(format!("a key cannot stand in `{other}`")).at(&node.at.join("in"));
                        self.problem(problem.expected("header, query or cookie"));
                        return None;
                    }
                };
                SecurityKind::ApiKey { place, name }
            }
            "http" => {
                let Some(scheme) = self.text(node, "scheme") else {
                    self.problem(
                        Problem::new("an http scheme needs `scheme`").at(&node.at).expected("bearer, basic, …"),
                    );
                    return None;
                };
                SecurityKind::Http { scheme: scheme.to_lowercase(), bearer_format: self.text(node, "bearerFormat") }
            }
            "oauth2" => {
                let (mut scopes, mut token_urls) = (IndexMap::new(), IndexMap::new());
                for (name, flow) in self.members(node, "flows") {
                    if name.starts_with("x-") {
                        continue;
                    }
                    for (scope, description) in self.members(&flow, "scopes") {
                        let text = description.value.as_str().unwrap_or_default();
                        scopes.entry(scope.to_owned()).or_insert_with(|| text.to_owned());
                    }
                    if let Some(url) = self.text(&flow, "tokenUrl") {
                        token_urls.insert(name.to_owned(), url);
                    }
                }
                SecurityKind::OAuth2 { scopes, token_urls }
            }
            "openIdConnect" => {
                SecurityKind::OpenIdConnect { url: self.text(node, "openIdConnectUrl").unwrap_or_default() }
            }
            "mutualTLS" => SecurityKind::MutualTls,
            other => {
                const KNOWN: [&str; 5] = ["apiKey", "http", "oauth2", "openIdConnect", "mutualTLS"];
                let problem =
                    Problem::new(format!("`{other}` is not a type of security scheme")).at(&node.at.join("type"));
                self.problem(problem.expected(KNOWN.join(", ")).maybe_help(did_you_mean(other, KNOWN)));
                return None;
            }
        })
    }

    /// `security` of the root or an operation; `None` where it is not said.
    pub(super) fn security(&mut self, node: &Node<'d>) -> Option<Vec<SecurityRequirement>> {
        node.get("security")?;
        let mut alternatives = Vec::new();
        for item in self.items(node, "security") {
            let Value::Object(map) = item.value else {
                self.wrong_type(&item, "an object of scheme names");
                continue;
            };
            let mut schemes = IndexMap::new();
            for name in map.keys() {
                let scopes =
                    if map.get(name).is_some_and(Value::is_null) { Vec::new() } else { self.texts(&item, name) };
                let declared =
                    self.document.files.first().and_then(|file| file.value.pointer("/components/securitySchemes"));
                if declared.and_then(|schemes| schemes.get(name)).is_none() {
                    let known =
                        declared.and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str());
                    let problem = Problem::new(format!("there is no security scheme `{name}`")).at(&item.at.join(name));
                    self.note(problem.maybe_help(did_you_mean(name, known)));
                }
                schemes.insert(name.clone(), scopes);
            }
            alternatives.push(SecurityRequirement { schemes });
        }
        Some(alternatives)
    }
}
