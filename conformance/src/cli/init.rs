//! `trueline init`: a first profile. What the document tells is filled in; what only its owner knows is asked for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use trueline_conformance::case::Phase;
use trueline_conformance::plan::{Plan, PlanOptions};
use trueline_conformance::profile::Profile;
use trueline_conformance::report::{ContractSource, ExitCode, WriteError, write_whole};
use trueline_conformance::subject::Subject;
use trueline_spec::Contract;
use trueline_spec::contract::{Direction, Operation, ParameterPlace, SecurityKind, StatusPattern};
use trueline_spec::vocabulary::Per;

use super::args::{InitArgs, Inputs};
use super::error::CliError;
use super::inputs::{self, Loaded};
use super::output;

/// What stands where only the owner knows the value.
const FILL_IN: &str = "FILL-IN";

/// Properties of a login's answer that hold what a caller shows afterwards, the likeliest first.
const TOKENS: [&str; 10] =
    ["access_token", "accessToken", "access", "token", "jwt", "id_token", "idToken", "auth_token", "authToken", "key"];

pub(super) fn run(args: &InitArgs) -> Result<ExitCode, CliError> {
    let inputs = Inputs { spec: args.spec.clone(), contract: args.contract.clone(), ..Inputs::default() };
    let loaded = inputs::load(&inputs)?;
    let url = args.url.as_deref().map(|url| loaded.base_url(Some(url))).transpose()?;
    if args.out.exists() && !args.force {
        let help = "--out names another file, --force writes over it";
        return Err(CliError::usage_with(format!("{} is there already", args.out.display()), help));
    }
    let draft = Draft::of(&loaded, url.as_deref(), &args.out)?;
    write_whole(&args.out, draft.text.as_bytes())?;
    output::print(&draft.farewell(&args.out));
    Ok(ExitCode::Conforms)
}

/// A profile, and what it leaves open.
struct Draft {
    text: String,
    asked: Vec<String>,
    unreachable: Vec<String>,
}

impl Draft {
    fn of(loaded: &Loaded, url: Option<&str>, out: &Path) -> Result<Draft, CliError> {
        let contract = &loaded.contract;
        let mut draft = Draft { text: String::new(), asked: Vec::new(), unreachable: Vec::new() };
        draft.head(loaded, url, out)?;
        draft.principals(contract);
        draft.limits(contract);
        let profile = Profile::parse(&draft.text)
            .map_err(|message| CliError::usage(format!("the document makes no profile: {message}")))?;
        profile.check(contract)?;
        // The plan knows what nobody can be asked with this profile.
        let subject = Subject::new(std::sync::Arc::clone(&loaded.contract));
        let plan =
            Plan::new(&subject, &profile, PlanOptions { phases: vec![Phase::Examples], ..PlanOptions::default() });
        for (operation, reason) in plan.left_out {
            draft.unreachable.push(format!("{}: {reason}", contract.operations[operation].id));
        }
        draft.values(contract, &subject);
        draft.budget();
        Ok(draft)
    }

    fn head(&mut self, loaded: &Loaded, url: Option<&str>, out: &Path) -> Result<(), CliError> {
        let source = match &loaded.source {
            ContractSource::BuiltIn(name) => name.clone(),
            ContractSource::Path(path) => seen_from(path, out)?.display().to_string(),
        };
        let contract = &loaded.contract;
        self.line(&format!("# How trueline reaches one deployment of {}, and as whom.", one_line(&contract.title)));
        self.line("# `trueline profile-schema` prints every key; an editor completes them with it.");
        self.line("");
        self.line(&format!("contract = {}", quoted(&source)));
        match url {
            Some(url) => self.line(&format!("base-url = {}", quoted(url))),
            None => {
                let known = contract.servers.first().map_or("http://localhost:8080", String::as_str);
                self.line(&format!("# base-url = {}", quoted(known)));
                self.asked.push("`base-url`: the deployment to test (or --url)".to_owned());
            }
        }
        Ok(())
    }

    /// One principal for each scheme that an operation asks for.
    fn principals(&mut self, contract: &Contract) {
        let mut schemes: Vec<&str> = Vec::new();
        for operation in &contract.operations {
            for scheme in operation.security.iter().flat_map(|alternative| alternative.schemes.keys()) {
                if contract.security_schemes.contains_key(scheme) && !schemes.contains(&scheme.as_str()) {
                    schemes.push(scheme);
                }
            }
        }
        if schemes.is_empty() {
            self.line("");
            self.line("# No operation asks for a credential, so there is nobody to act as.");
            return;
        }
        self.line("");
        self.line("# Those whom trueline may act as. Take accounts made for tests: it writes and deletes with them.");
        let login = login_of(contract);
        let mut login_used = false;
        for scheme in schemes {
            let Some(declared) = contract.security_schemes.get(scheme) else { continue };
            let name = bare(scheme);
            let takes_login = matches!(&declared.kind, SecurityKind::Http { scheme, .. } if scheme == "bearer")
                || matches!(declared.kind, SecurityKind::OAuth2 { .. } | SecurityKind::OpenIdConnect { .. });
            self.line("");
            self.line(&format!("# {}", kind_of(&declared.kind)));
            if matches!(declared.kind, SecurityKind::MutualTls) {
                self.line("# trueline cannot show a client certificate yet.");
                continue;
            }
            self.line(&format!("[principals.{name}]"));
            self.line(&format!("scheme = {}", quoted(scheme)));
            match &login {
                Some(login) if takes_login && !login_used => {
                    login_used = true;
                    self.line(&format!("# {} answers with a token at {}.", login.operation, login.token));
                    let mut members = String::new();
                    for (index, (key, value)) in login.body.iter().enumerate() {
                        let comma = if index == 0 { "" } else { ", " };
                        let _ = write!(members, "{comma}{} = {}", quoted_key(key), quoted(value));
                    }
                    self.line(&format!(
                        "login = {{ operation = {}, token = {}, body = {{ {members} }} }}",
                        quoted(&login.operation),
                        quoted(&login.token)
                    ));
                    self.asked
                        .push(format!("principals.{name}.login.body: an account that {} lets in", login.operation));
                }
                _ => {
                    let variable = shout(&format!("{}_{scheme}", contract.name));
                    self.line(&format!("credential-env = {}", quoted(&variable)));
                    let what = match &declared.kind {
                        SecurityKind::Http { scheme, .. } if scheme == "basic" => "user:password",
                        SecurityKind::ApiKey { .. } => "the key",
                        _ => "the token without a prefix such as `Bearer`",
                    };
                    self.asked.push(format!("${variable} in the environment: {what} for {name}"));
                }
            }
        }
        self.line("");
        self.line("# Somebody of another tenant makes it possible to test that tenants are kept apart: a second principal with");
        self.line("# the same scheme and another `group`. A key with few rights shows whether rights are enforced: list under");
        self.line("# `denied` the operations (by id) that must be refused to it with 403.");
    }

    fn limits(&mut self, contract: &Contract) {
        let limits = contract.vocabulary.as_ref().and_then(|vocabulary| vocabulary.rate_limits.as_ref());
        let Some(limits) = limits else { return };
        self.line("");
        self.line("# Rate limits are used up only by principals kept for it (`reserved-for = \"limits\"`).");
        if limits.classes.values().any(|class| matches!(class.per, Per::Ip)) {
            self.line("# Some count by address; on one machine, several addresses keep the counters apart:");
            self.line("# addresses = [\"127.0.0.2\", \"127.0.0.3\"]   # above the first [table]");
        }
        self.line("# Where this deployment allows other numbers than the contract:");
        self.line("# [limits]");
        for (name, class) in &limits.classes {
            self.line(&format!("# {} = {}   # a window of {}", quoted_key(name), class.limit, class.window));
        }
    }

    /// Path parameters that no operation of the document gives a value for.
    fn values(&mut self, contract: &Contract, subject: &Subject) {
        let made = |name: &str| {
            let parameter = name.to_lowercase();
            contract.operations.iter().any(|operation| {
                let links = operation.responses.iter().flat_map(|response| &response.links);
                let linked = links.flat_map(|link| &link.parameters).any(|one| one.name == name);
                let creates = operation.method == http::Method::POST
                    && operation.responses.iter().any(|one| one.status == StatusPattern::Exact(201))
                    && last_word(&operation.path.to_string()).is_some_and(|word| parameter.starts_with(&word));
                linked || creates
            })
        };
        let mut unknown: Vec<(&str, Vec<&str>)> = Vec::new();
        for operation in &subject.contract.operations {
            for parameter in operation.parameters.iter().filter(|one| one.place == ParameterPlace::Path) {
                if !parameter.examples.is_empty() || made(&parameter.name) {
                    continue;
                }
                match unknown.iter_mut().find(|(name, _)| *name == parameter.name) {
                    Some((_, operations)) => operations.push(&operation.id),
                    None => unknown.push((&parameter.name, vec![&operation.id])),
                }
            }
        }
        if unknown.is_empty() {
            return;
        }
        self.line("");
        self.line("# Ids of things that exist, where the document does not say how to make one. Under a principal:");
        self.line("# [principals.<name>.values]");
        for (name, operations) in unknown {
            self.line(&format!("# {} = \"…\"   # for {}", quoted_key(name), listed(&operations)));
            self.asked
                .push(format!("`values.{name}` of a principal: something that exists (for {})", listed(&operations)));
        }
    }

    fn budget(&mut self) {
        self.line("");
        self.line("# How far a run may go.");
        self.line("[budget]");
        self.line("# requests = 20000    # in all");
        self.line("# pace = 50.0         # a second");
        self.line("timeout-ms = 30000    # for one exchange");
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn farewell(&self, out: &Path) -> String {
        let mut text = format!("{} is written\n", out.display());
        if !self.asked.is_empty() {
            text.push_str("\nfill in\n");
            for one in &self.asked {
                let _ = writeln!(text, "  - {one}");
            }
        }
        if !self.unreachable.is_empty() {
            text.push_str("\nnot tested with this draft\n");
            for one in &self.unreachable {
                let _ = writeln!(text, "  - {one}");
            }
        }
        let _ = writeln!(text, "\nthen\n  trueline plan --profile {0}\n  trueline check --profile {0}", out.display());
        text
    }
}

/// An operation that gives out a token.
struct FoundLogin {
    operation: String,
    token: String,
    body: Vec<(String, String)>,
}

/// The operation that most looks like a login: nobody has to be logged in for it, it takes a password, and answers with
/// something that is called a token.
fn login_of(contract: &Contract) -> Option<FoundLogin> {
    let candidates = contract.operations.iter().filter(|one| one.method == http::Method::POST && !one.is_secured());
    let found = candidates.filter_map(|operation| {
        let body = password_body(contract, operation)?;
        let (rank, token) = token_of(contract, operation)?;
        // Signing up may answer with a token too; logging in is what can be repeated.
        let name = format!("{} {}", operation.id, operation.path).to_lowercase();
        let sounds = ["login", "signin", "sign-in", "token", "session", "auth"].iter().any(|word| name.contains(word));
        let creates = ["register", "signup", "sign-up"].iter().any(|word| name.contains(word));
        let key = (creates, !sounds, rank);
        Some((key, FoundLogin { operation: operation.id.clone(), token, body }))
    });
    found.min_by(|a, b| a.0.cmp(&b.0)).map(|(_, login)| login)
}

/// The members of a JSON body that has a password: those that are required, or all where the document does not say.
fn password_body(contract: &Contract, operation: &Operation) -> Option<Vec<(String, String)>> {
    let media = operation.body.as_ref()?.media.iter().find(|media| media.media_type.contains("json"))?;
    let schema = contract.standalone(media.schema.as_ref()?, Direction::Request);
    let object = resolved(&schema, &schema)?;
    let properties = object.get("properties")?.as_object()?;
    if !properties.keys().any(|name| name.to_lowercase().contains("password")) {
        return None;
    }
    let required: Vec<&str> = object.get("required").and_then(Value::as_array).map_or_else(
        || properties.keys().map(String::as_str).collect(),
        |names| names.iter().filter_map(Value::as_str).collect(),
    );
    Some(required.into_iter().map(|name| (name.to_owned(), FILL_IN.to_owned())).collect())
}

/// Where the token stands in the first success, and how sure that is (less is surer).
fn token_of(contract: &Contract, operation: &Operation) -> Option<(usize, String)> {
    let response = operation.responses.iter().find(|one| matches!(one.status, StatusPattern::Exact(200..300)))?;
    let schema = response.media.iter().find_map(|media| media.schema.as_ref())?;
    let standalone = contract.standalone(schema, Direction::Response);
    let mut places = Vec::new();
    strings(&standalone, &standalone, String::new(), 0, &mut places);
    let rank = |pointer: &str| TOKENS.iter().position(|name| pointer.rsplit('/').next() == Some(*name));
    places.into_iter().filter_map(|pointer| Some((rank(&pointer)?, pointer))).min()
}

/// Pointers of the string members of a schema's instances, a few levels deep.
fn strings(root: &Value, schema: &Value, pointer: String, depth: usize, found: &mut Vec<String>) {
    let Some(schema) = resolved(root, schema) else { return };
    if depth > 3 {
        return;
    }
    for (name, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let here = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        let is_string = resolved(root, member).and_then(|member| member.get("type")?.as_str()) == Some("string");
        if is_string {
            found.push(here);
        } else {
            strings(root, member, here, depth + 1, found);
        }
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        strings(root, part, pointer.clone(), depth + 1, found);
    }
}

/// A schema behind its references within the same value.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let mut schema = schema;
    for _ in 0..8 {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(target) => schema = root.pointer(target.strip_prefix('#')?)?,
            None => return Some(schema),
        }
    }
    None
}

/// A path as it has to stand in a file elsewhere: a profile names its contract from its own folder.
fn seen_from(path: &Path, out: &Path) -> Result<PathBuf, CliError> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(_) if path.is_relative() => {
            path.canonicalize().map_err(|source| CliError::Write(WriteError { path: path.to_owned(), source }))
        }
        _ => Ok(path.to_owned()),
    }
}

fn kind_of(kind: &SecurityKind) -> String {
    match kind {
        SecurityKind::ApiKey { place, name } => format!("A key in the {place} `{}`.", one_line(name)),
        SecurityKind::Http { scheme, .. } if scheme == "basic" => "User name and password (RFC 7617).".to_owned(),
        SecurityKind::Http { scheme, .. } => format!("`Authorization: {}`.", one_line(scheme)),
        SecurityKind::OAuth2 { .. } => "An access token (OAuth 2).".to_owned(),
        SecurityKind::OpenIdConnect { .. } => "An access token (OpenID Connect).".to_owned(),
        SecurityKind::MutualTls => "A client certificate.".to_owned(),
    }
}

/// The last word of a path, in the singular: `/v1/agents/` is about an agent.
fn last_word(path: &str) -> Option<String> {
    let last = path.split('/').rfind(|part| !part.is_empty() && !part.starts_with('{'))?.to_lowercase();
    Some(last.strip_suffix('s').unwrap_or(&last).to_owned())
}

fn listed(operations: &[&str]) -> String {
    match operations {
        [one, two, three, rest @ ..] if !rest.is_empty() => format!("{one}, {two}, {three} and {} more", rest.len()),
        few => few.join(", "),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A basic string of TOML. JSON's escapes are a part of TOML's, but for DEL.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A key of TOML: bare where that is allowed.
fn quoted_key(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { quoted(key) }
}

/// A name that needs no quotes in TOML.
fn bare(name: &str) -> String {
    let bare: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if bare.is_empty() { "caller".to_owned() } else { bare.to_lowercase() }
}

fn shout(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}
