//! Security schemes and requirements.

use indexmap::IndexMap;
use serde_json::Value;

use super::{Node, Reader, Version};
use crate::contract::{ParameterPlace, SecurityKind, SecurityRequirement, SecurityScheme};
use crate::problem::{Problem, did_you_mean};

impl<'d> Reader<'d> {
    pub(super) fn security_schemes(&mut self, root: &Node<'d>, way: &[&str]) -> IndexMap<String, SecurityScheme> {
        let mut schemes = IndexMap::new();
        for (name, node) in self.shared(root, way) {
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
            "http" if self.version > Version::V20 => {
                let Some(scheme) = self.text(node, "scheme") else {
                    self.problem(
                        Problem::new("an http scheme needs `scheme`").at(&node.at).expected("bearer, basic, …"),
                    );
                    return None;
                };
                SecurityKind::Http { scheme: scheme.to_lowercase(), bearer_format: self.text(node, "bearerFormat") }
            }
            "basic" if self.version == Version::V20 => {
                SecurityKind::Http { scheme: "basic".into(), bearer_format: None }
            }
            "oauth2" if self.version == Version::V20 => {
                let scopes = self.members(node, "scopes").into_iter().filter(|(scope, _)| !scope.starts_with("x-"));
                let scopes = scopes
                    .map(|(scope, text)| (scope.to_owned(), text.value.as_str().unwrap_or_default().to_owned()))
                    .collect();
                let flow = self.text(node, "flow").unwrap_or_default();
                let token_urls = self.text(node, "tokenUrl").map(|url| (flow, url)).into_iter().collect();
                SecurityKind::OAuth2 { scopes, token_urls }
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
            "openIdConnect" if self.version > Version::V20 => {
                SecurityKind::OpenIdConnect { url: self.text(node, "openIdConnectUrl").unwrap_or_default() }
            }
            "mutualTLS" if self.version > Version::V20 => SecurityKind::MutualTls,
            other => {
                const KNOWN: &[&str] = &["apiKey", "http", "oauth2", "openIdConnect", "mutualTLS"];
                const KNOWN_IN_20: &[&str] = &["basic", "apiKey", "oauth2"];
                let known = if self.version == Version::V20 { KNOWN_IN_20 } else { KNOWN };
                let problem =
                    Problem::new(format!("`{other}` is not a type of security scheme")).at(&node.at.join("type"));
                self.problem(problem.expected(known.join(", ")).maybe_help(did_you_mean(other, known.iter().copied())));
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
                let way = self.version.shared().security_schemes;
                let root = self.document.files.first().map(|file| &file.value);
                let declared = root.and_then(|root| way.iter().try_fold(root, |value, key| value.get(key)));
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
