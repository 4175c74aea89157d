//! Authentication files of Web Fuzzing Commons (schema `wfc/schemas/auth.yaml`, github.com/WebFuzzing/Commons), as other
//! testing tools read them: each entry becomes a principal.

use std::path::Path;

use base64::Engine;
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use trueline_spec::Contract;
use trueline_spec::contract::{Operation, ParameterPlace, SecurityKind, SecurityScheme};
use trueline_spec::document::{Document, Location};

use super::{Login, Principal, ProfileError, Register};

/// Room that `{run}` takes once it is filled.
const RUN_LENGTH: usize = 7;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    #[serde(default)]
    require_mock_handling: bool,
    #[serde(default)]
    fixed_headers: Vec<Header>,
    login_endpoint_auth: Option<LoginEndpoint>,
    create_users: Option<CreateUsers>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoginEndpoint {
    #[serde(flatten)]
    endpoint: Endpoint,
    payload_raw: Option<String>,
    payload_user_pwd: Option<UserPassword>,
    #[serde(default)]
    headers: Vec<Header>,
    token: Option<Token>,
    #[serde(default)]
    expect_cookies: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    endpoint: Option<String>,
    #[serde(rename = "externalEndpointURL")]
    external: Option<String>,
    verb: Option<String>,
    content_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserPassword {
    username: String,
    password: String,
    username_field: String,
    password_field: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    extract_from: String,
    extract_selector: String,
    send_in: String,
    send_name: String,
    #[serde(default = "bare")]
    send_template: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateUsers {
    #[serde(flatten)]
    endpoint: Endpoint,
    payload_raw: String,
    #[serde(default)]
    generators: Vec<Generator>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generator {
    place_holder: String,
    max_length: Option<usize>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    postfix: String,
}

fn bare() -> String {
    "{token}".to_owned()
}

/// Reads the principals of a file (YAML, JSON or TOML). What cannot be done with this contract is said of all entries at
/// once.
pub(super) fn load(path: &Path, contract: &Contract) -> Result<IndexMap<String, Principal>, ProfileError> {
    let bytes = std::fs::read(path).map_err(|source| ProfileError::Read { path: path.to_owned(), source })?;
    let parse = |message: String| ProfileError::Parse { path: path.to_owned(), message };
    let text = String::from_utf8(bytes).map_err(|error| parse(error.to_string()))?;
    let is_toml = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"));
    let value = if is_toml {
        toml::from_str(&text).map_err(|error| parse(error.to_string()))?
    } else {
        let document =
            Document::from_text(&path.display().to_string(), &text).map_err(|error| parse(error.to_string()))?;
        document.value(&Location::root(0)).cloned().unwrap_or_default()
    };
    principals(&value, contract).map_err(|problems| {
        ProfileError::Misfit(problems.into_iter().map(|problem| format!("  {}: {problem}", path.display())).collect())
    })
}

fn principals(file: &Value, contract: &Contract) -> Result<IndexMap<String, Principal>, Vec<String>> {
    let Some(entries) = file.get("auth").and_then(Value::as_array) else {
        return Err(vec!["has no list `auth`".to_owned()]);
    };
    let mut principals = IndexMap::new();
    let mut problems = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let whole = merged(file.get("authTemplate").unwrap_or(&Value::Null), entry);
        let read: Result<Entry, _> = serde_json::from_value(whole);
        let made = read.map_err(|error| format!("/auth/{index}: {error}")).and_then(|entry| {
            let made = principal(&entry, contract).map_err(|why| format!("/auth/{index} ({}): {why}", entry.name))?;
            Ok((entry.name, made))
        });
        match made {
            Ok((name, made)) => {
                principals.insert(name, made);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(principals) } else { Err(problems) }
}

/// The entry, with what it does not say itself from the template.
fn merged(template: &Value, entry: &Value) -> Value {
    match (template, entry) {
        (Value::Object(template), Value::Object(entry)) => {
            let mut whole: Map<String, Value> = template.clone();
            for (key, own) in entry {
                let inherited = template.get(key).unwrap_or(&Value::Null);
                whole.insert(key.clone(), merged(inherited, own));
            }
            Value::Object(whole)
        }
        _ => entry.clone(),
    }
}

fn principal(entry: &Entry, contract: &Contract) -> Result<Principal, String> {
    if entry.require_mock_handling {
        return Err(
            "`requireMockHandling` asks for another service to be replaced, which only white-box tests can".to_owned()
        );
    }
    let mut principal = Principal::default();
    for header in &entry.fixed_headers {
        let credential = match scheme_of_header(contract, &header.name, &header.value) {
            Some(found) if entry.login_endpoint_auth.is_none() => found,
            _ => {
                principal.headers.insert(header.name.clone(), header.value.clone());
                continue;
            }
        };
        let (scheme, credential) = credential;
        if principal.scheme.is_empty() {
            principal.scheme = scheme;
            principal.credential = Some(credential);
        } else {
            principal.credentials.insert(scheme, credential);
        }
    }
    if let Some(login) = &entry.login_endpoint_auth {
        let generators = entry.create_users.as_ref().map_or(&[][..], |create| &create.generators);
        let (scheme, login) = login_of(login, generators, contract)?;
        principal.scheme = scheme;
        principal.login = Some(login);
    }
    if let Some(create) = &entry.create_users {
        let operation = create.endpoint.operation(contract)?;
        let body = create.endpoint.body(&filled(&create.payload_raw, &create.generators)?)?;
        principal.register = Some(Register { operation: operation.id.clone(), body, by: None });
    }
    if principal.scheme.is_empty() {
        let schemes: Vec<&str> = contract.security_schemes.keys().map(String::as_str).collect();
        return Err(format!(
            "nothing in it is a credential of the document's security schemes ({})",
            schemes.join(", ")
        ));
    }
    Ok(principal)
}

fn login_of(login: &LoginEndpoint, generators: &[Generator], contract: &Contract) -> Result<(String, Login), String> {
    let operation = login.endpoint.operation(contract)?;
    let body = match (&login.payload_raw, &login.payload_user_pwd) {
        (Some(raw), _) => login.endpoint.body(&filled(raw, generators)?)?,
        (None, Some(who)) => {
            let mut body = Map::new();
            body.insert(who.username_field.clone(), Value::from(filled(&who.username, generators)?));
            body.insert(who.password_field.clone(), Value::from(filled(&who.password, generators)?));
            Value::Object(body)
        }
        (None, None) => Value::Null,
    };
    let mut parameters = IndexMap::new();
    for header in &login.headers {
        if header.name.eq_ignore_ascii_case("content-type") || header.name.eq_ignore_ascii_case("accept") {
            continue;
        }
        let known = operation
            .parameters
            .iter()
            .find(|one| one.place == ParameterPlace::Header && one.name.eq_ignore_ascii_case(&header.name));
        let known =
            known.ok_or_else(|| format!("the document's `{}` takes no header {}", operation.id, header.name))?;
        parameters.insert(known.name.clone(), Value::from(header.value.clone()));
    }
    let (scheme, token) = if login.expect_cookies {
        let cookie = contract.security_schemes.values().find_map(|scheme| match &scheme.kind {
            SecurityKind::ApiKey { place: ParameterPlace::Cookie, name } => Some((scheme.name.clone(), name)),
            _ => None,
        });
        let (scheme, name) = cookie.ok_or("the document has no security scheme whose credential is a cookie")?;
        (scheme, format!("cookie:{name}"))
    } else {
        let token = login.token.as_ref().ok_or("the login says neither `token` nor `expectCookies`")?;
        let place = match token.extract_from.as_str() {
            "header" => format!("header:{}", token.extract_selector),
            _ => token.extract_selector.clone(),
        };
        (token.scheme(contract)?, place)
    };
    Ok((scheme, Login { operation: operation.id.clone(), body, parameters, token, refresh: None, renew_on: None }))
}

impl Endpoint {
    /// The document's operation that this is; a base path may stand before it.
    fn operation<'c>(&self, contract: &'c Contract) -> Result<&'c Operation, String> {
        let Some(path) = &self.endpoint else {
            let other = self.external.as_deref().unwrap_or("nowhere");
            return Err(format!("it is at {other}, and only operations of the document are called"));
        };
        let verb = self.verb.as_deref().unwrap_or("POST");
        let plain = |path: &str| path.trim_end_matches('/').to_owned();
        let wanted = plain(path.split('?').next().unwrap_or_default());
        let fits = |operation: &&Operation| {
            let own = plain(&operation.path.to_string());
            operation.method.as_str().eq_ignore_ascii_case(verb)
                && (own == wanted || wanted.strip_suffix(&own).is_some_and(|_| own.starts_with('/')))
        };
        let longest = contract.operations.iter().filter(fits).max_by_key(|operation| operation.path.to_string().len());
        longest.ok_or_else(|| format!("the document has no operation {verb} {path}"))
    }

    fn body(&self, text: &str) -> Result<Value, String> {
        if self.content_type.as_deref().is_some_and(|kind| kind.contains("x-www-form-urlencoded")) {
            let decode = |text: &str| {
                let spaced = text.replace('+', " ");
                percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
            };
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            return Ok(pairs.map(|(name, value)| (decode(name), Value::from(decode(value)))).collect());
        }
        serde_json::from_str(text).map_err(|error| format!("`payloadRaw` is not JSON: {error}"))
    }
}

impl Token {
    /// The security scheme whose credential is sent like this.
    fn scheme(&self, contract: &Contract) -> Result<String, String> {
        let bearer = self.send_template.to_lowercase().starts_with("bearer ");
        let fits = |scheme: &&SecurityScheme| match &scheme.kind {
            SecurityKind::ApiKey { place: ParameterPlace::Query, name } => {
                self.send_in == "query" && *name == self.send_name
            }
            SecurityKind::ApiKey { place: ParameterPlace::Header, name } => {
                self.send_in == "header" && name.eq_ignore_ascii_case(&self.send_name)
            }
            kind => is_bearer(kind) && bearer && self.send_name.eq_ignore_ascii_case("authorization"),
        };
        let found = contract.security_schemes.values().find(fits).map(|scheme| scheme.name.clone());
        found.ok_or_else(|| {
            format!(
                "no security scheme of the document sends `{}` in the {} `{}`",
                self.send_template, self.send_in, self.send_name
            )
        })
    }
}

fn is_bearer(kind: &SecurityKind) -> bool {
    match kind {
        SecurityKind::Http { scheme, .. } => scheme == "bearer",
        SecurityKind::OAuth2 { .. } | SecurityKind::OpenIdConnect { .. } => true,
        _ => false,
    }
}

/// The security scheme that a fixed header satisfies, and the credential without its prefix.
fn scheme_of_header(contract: &Contract, name: &str, value: &str) -> Option<(String, String)> {
    contract.security_schemes.values().find_map(|scheme| {
        let credential = match &scheme.kind {
            SecurityKind::ApiKey { place: ParameterPlace::Header, name: own } if own.eq_ignore_ascii_case(name) => {
                value.to_owned()
            }
            kind if name.eq_ignore_ascii_case("authorization") => {
                let (prefix, rest) = value.split_once(' ')?;
                match kind {
                    kind if is_bearer(kind) && prefix.eq_ignore_ascii_case("bearer") => rest.trim().to_owned(),
                    SecurityKind::Http { scheme, .. } if scheme == "basic" && prefix.eq_ignore_ascii_case("basic") => {
                        let bytes = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
                        String::from_utf8(bytes).ok()?
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        Some((scheme.name.clone(), credential))
    })
}

/// Places of generators filled with what is different in every run.
fn filled(text: &str, generators: &[Generator]) -> Result<String, String> {
    let mut text = text.to_owned();
    for one in generators {
        let length = one.prefix.chars().count() + RUN_LENGTH + one.postfix.chars().count();
        if let Some(most) = one.max_length.filter(|most| *most < length) {
            return Err(format!("{} has room for {most} characters, and {length} are needed", one.place_holder));
        }
        text = text.replace(&one.place_holder, &format!("{}{{run}}{}", one.prefix, one.postfix));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
openapi: 3.1.0
info: {title: Shop, version: '1'}
paths:
  /login:
    post:
      operationId: logIn
      requestBody: {content: {application/json: {schema: {type: object}}}}
      responses: {'200': {description: In.}}
  /users:
    post:
      operationId: signUp
      requestBody: {content: {application/json: {schema: {type: object}}}}
      responses: {'201': {description: Made.}}
components:
  securitySchemes:
    bearer: {type: http, scheme: bearer}
    basic: {type: http, scheme: basic}
    key: {type: apiKey, in: header, name: X-Key}
    cookie: {type: apiKey, in: cookie, name: sid}
"#;

    fn read(file: &str) -> Result<IndexMap<String, Principal>, ProfileError> {
        let contract = Contract::from_text("shop.yaml", DOCUMENT).expect("a document");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("auth.yaml");
        std::fs::write(&path, file).expect("a file");
        let read = load(&path, &contract);
        if let Ok(principals) = &read {
            let profile = super::super::Profile { principals: principals.clone(), ..Default::default() };
            profile.check(&contract).expect("a profile that fits");
        }
        read
    }

    #[test]
    fn entries_become_principals() {
        let principals = read(
            r#"
schemaVersion: "0.2.0"
authTemplate:
  loginEndpointAuth:
    endpoint: /api/login
    verb: POST
    contentType: application/json
    payloadUserPwd: {usernameField: user, passwordField: word}
    token: {extractFrom: body, extractSelector: /data/token, sendIn: header, sendName: Authorization, sendTemplate: "Bearer {token}"}
auth:
  - {name: ann, loginEndpointAuth: {payloadUserPwd: {username: ann, password: secret-1}}}
  - name: new
    createUsers:
      endpoint: /users
      verb: POST
      contentType: application/json
      payloadRaw: '{"user": "{$name}"}'
      generators: [{placeHolder: "{$name}", prefix: u_, postfix: "@example.com", maxLength: 30}]
    loginEndpointAuth: {payloadUserPwd: {username: "{$name}", password: w}}
"#,
        )
        .expect("principals");
        let ann = principals["ann"].login.as_ref().expect("a login");
        assert_eq!((principals["ann"].scheme.as_str(), ann.operation.as_str()), ("bearer", "logIn"));
        assert_eq!(ann.body, serde_json::json!({"user": "ann", "word": "secret-1"}));
        assert_eq!(ann.token, "/data/token");
        let new = &principals["new"];
        assert_eq!(new.register.as_ref().expect("made").body, serde_json::json!({"user": "u_{run}@example.com"}));
        assert_eq!(new.login.as_ref().expect("a login").body["user"], "u_{run}@example.com");
    }

    #[test]
    fn fixed_headers_and_cookies_are_credentials() {
        let principals = read(
            r#"
auth:
  - {name: a, fixedHeaders: [{name: authorization, value: "Basic Ym9iOndvcmQ="}, {name: X-Extra, value: e}]}
  - {name: b, fixedHeaders: [{name: x-key, value: k}]}
  - name: c
    loginEndpointAuth: {endpoint: /login, verb: POST, payloadRaw: '{"u": 1}', expectCookies: true}
"#,
        )
        .expect("principals");
        assert_eq!(
            (principals["a"].scheme.as_str(), principals["a"].credential.as_deref()),
            ("basic", Some("bob:word"))
        );
        assert_eq!(principals["a"].headers["X-Extra"], "e");
        assert_eq!((principals["b"].scheme.as_str(), principals["b"].credential.as_deref()), ("key", Some("k")));
        assert_eq!(principals["c"].login.as_ref().map(|login| login.token.as_str()), Some("cookie:sid"));
    }

    #[test]
    fn what_cannot_be_done_is_said_of_every_entry() {
        let error = read(
            r#"
auth:
  - {name: a, fixedHeaders: [{name: X-Other, value: k}]}
  - {name: b, loginEndpointAuth: {externalEndpointURL: "https://id.example.com/token", verb: POST}}
  - {name: c, loginEndpointAuth: {endpoint: /log-in, verb: POST}}
  - {name: d, requireMockHandling: true}
  - {fixedHeaders: []}
"#,
        )
        .expect_err("refused");
        let text = error.to_string();
        for said in [
            "/auth/0 (a): nothing",
            "/auth/1 (b): it is at https",
            "no operation POST /log-in",
            "white-box",
            "/auth/4: missing field `name`",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
    }
}
