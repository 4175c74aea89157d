//! The profile: how to reach one deployment, who the harness may act as there, and how far it may go.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trueline_spec::Contract;
use trueline_spec::contract::{Operation, SecurityRequirement};

/// A profile file (TOML). Unknown keys are errors.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// The name of a built-in contract, or an OpenAPI document: a path (relative to the profile's folder) or a URL.
    #[serde(default)]
    pub contract: Option<String>,
    /// OpenAPI Overlays to change the document with, in this order: paths (relative to the profile's folder) or URLs.
    #[serde(default)]
    pub overlays: Vec<PathBuf>,
    /// Scheme, host and the path below which the contract's paths stand.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Those the harness can act as, by a name of your choice.
    #[serde(default)]
    pub principals: IndexMap<String, Principal>,
    /// Credentials that must be refused, such as an expired token.
    #[serde(default)]
    pub bad_credentials: Vec<BadCredential>,
    /// Local addresses to send from, for services that count by address (on one machine: 127.0.0.2, 127.0.0.3 …). The
    /// last one is kept for exhausting the limits of anonymous callers.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Where this deployment's rate limits differ from the contract: requests a window, by class.
    #[serde(default)]
    pub limits: IndexMap<String, u64>,
    /// Headers that go with every request.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// What may be touched; `own` if absent.
    #[serde(default)]
    pub safety: Option<Safety>,
    /// Operations that are left out: `deleteAccount`, `tag:Billing`, `path:/admin/*`, `method:DELETE`, `effect:costly`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How far a run may go.
    #[serde(default)]
    pub budget: Budget,
}

/// What a run may touch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Safety {
    /// GET, HEAD and OPTIONS only; logins excepted.
    Observe,
    /// Writes on what the run has made itself or the profile names; destroys only what the run has made.
    #[default]
    Own,
    /// Everything that the contract has.
    Full,
}

/// Somebody the harness can act as.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Principal {
    /// The security scheme of the contract that the credential belongs to.
    pub scheme: String,
    /// The credential itself: the token or key without a prefix such as `Bearer`.
    #[serde(default)]
    pub credential: Option<String>,
    /// The environment variable that holds the credential.
    #[serde(default)]
    pub credential_env: Option<String>,
    /// How to get a credential.
    #[serde(default)]
    pub login: Option<Login>,
    /// Credentials of further schemes, for operations that need several together, by scheme.
    #[serde(default)]
    pub credentials: IndexMap<String, String>,
    /// Principals of one group see the same resources with the same rights; the harness takes turns among them. The
    /// principal's own name if absent.
    #[serde(default)]
    pub group: Option<String>,
    /// The tenant that the principal belongs to. Principals of different tenants must not reach each other's resources;
    /// where absent, nothing is concluded.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The scopes that its credential has. Where absent, it is thought to have all that it needs.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Headers that go with every request of the principal.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// How the principal itself is made, before it logs in.
    #[serde(default)]
    pub register: Option<Register>,
    /// How it makes credentials with a chosen set of scopes.
    #[serde(default)]
    pub mint: Option<Mint>,
    /// Values that belong to the principal, by the name of a parameter or body property: ids of an organization, a
    /// workspace, an agent that its key is bound to.
    #[serde(default)]
    pub values: IndexMap<String, Value>,
    /// Operations (by id) that must be refused to it with 403, for lack of a role.
    #[serde(default)]
    pub denied: Vec<String>,
    /// The code of these refusals, where it is another than the contract's `refusals.forbidden`.
    #[serde(default)]
    pub denied_code: Option<String>,
    /// Kept for one purpose, so that nothing else touches its counters.
    #[serde(default)]
    pub reserved_for: Option<Purpose>,
    /// What its quotas allow on this deployment, by quota name.
    #[serde(default)]
    pub quotas: IndexMap<String, u64>,
}

/// What a principal is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Exhausting rate classes.
    Limits,
    /// Exhausting quotas.
    Quotas,
    /// Being refused: see `denied`.
    Denial,
}

/// An operation that gives a credential.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Login {
    /// The operation's id in the contract.
    pub operation: String,
    /// Its body, if it has one; written as the operation's media type says. `{run}` in a text is replaced by what is
    /// different in every run, `{env:NAME}` by a variable of the environment.
    #[serde(default)]
    pub body: Value,
    /// Its parameters, by name.
    #[serde(default)]
    pub parameters: IndexMap<String, Value>,
    /// Where the credential stands in the answer: a JSON Pointer into the body, `header:NAME` or `cookie:NAME`.
    pub token: String,
    /// Where the refresh token stands in the answer, likewise.
    #[serde(default)]
    pub refresh: Option<String>,
    /// Statuses by which the service says that a session has ended; the harness then makes sure, logs in again and repeats
    /// the request. 401 if absent.
    #[serde(default)]
    pub renew_on: Option<Vec<u16>>,
}

/// An operation that makes a principal: its account.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Register {
    /// The operation's id in the contract.
    pub operation: String,
    /// Its body. `{run}` in a text is replaced by what is different in every run, in the login's body too.
    pub body: Value,
    /// Who asks for it; nobody in particular if absent.
    #[serde(rename = "as", default)]
    pub by: Option<String>,
}

/// An operation that makes a credential with a chosen set of scopes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mint {
    /// The operation's id in the contract; it is called as the principal.
    pub operation: String,
    /// Its body.
    pub body: Value,
    /// JSON Pointer into the body: where the set of scopes goes.
    pub scopes: String,
    /// How the set is written.
    #[serde(default)]
    pub written_as: ScopeForm,
    /// Where the credential stands in the answer: a JSON Pointer into the body, or `header:NAME`.
    pub token: String,
    /// The security scheme of what is made; the principal's own if absent.
    #[serde(default)]
    pub scheme: Option<String>,
    /// The scopes that can be asked for; all that the document names if absent.
    #[serde(default)]
    pub available: Option<Vec<String>>,
    /// The operation that takes a credential back; what the document shows to remove the made thing if absent.
    #[serde(default)]
    pub revoke: Option<String>,
}

/// How a set of scopes is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScopeForm {
    /// A list of texts.
    #[default]
    List,
    /// One text, with spaces between (RFC 6749 section 3.3).
    Text,
}

/// A credential that must be refused.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BadCredential {
    /// The security scheme.
    pub scheme: String,
    /// Why it must be refused.
    pub kind: BadCredentialKind,
    /// The credential without a prefix such as `Bearer`.
    pub credential: String,
}

/// Why a credential must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BadCredentialKind {
    /// Past its lifetime.
    Expired,
    /// Taken back.
    Revoked,
}

/// How far a run may go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Budget {
    /// Requests in all, logins and repetitions included; no limit if absent.
    #[serde(default)]
    pub requests: Option<u64>,
    /// Requests a second at most; no limit if absent.
    #[serde(default)]
    pub pace: Option<f64>,
    /// Milliseconds for one exchange; 30,000 if absent.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Seconds in all; no limit if absent.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// Resources that may be made in all; no limit if absent.
    #[serde(default)]
    pub objects: Option<u64>,
    /// Milliseconds that an answer may take before `time.budget` says so; 10,000 if absent.
    #[serde(default)]
    pub answer_ms: Option<u64>,
    /// Seconds that the harness may wait for a rate window to end; 0 if absent.
    #[serde(default)]
    pub patience_s: Option<u64>,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read the profile {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a profile.
    #[error("{} is not a profile:\n{message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// The profile does not fit the contract.
    #[error("the profile does not fit the contract:\n{}", .0.join("\n"))]
    Misfit(Vec<String>),
}

impl Profile {
    /// Reads a profile file.
    pub fn load(path: &Path) -> Result<Profile, ProfileError> {
        let bytes = std::fs::read(path).map_err(|source| ProfileError::Read { path: path.to_owned(), source })?;
        let parse = |message: String| ProfileError::Parse { path: path.to_owned(), message };
        let text = String::from_utf8(bytes)
            .map_err(|error| parse(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))?;
        let mut profile = Profile::parse(&text).map_err(parse)?;
        profile.fill_environment().map_err(parse)?;
        Ok(profile)
    }

    /// `{env:NAME}` in the bodies that log in, register and mint becomes what the environment says, so that a password need
    /// not stand in a file.
    fn fill_environment(&mut self) -> Result<(), String> {
        for (name, principal) in &mut self.principals {
            let login = principal.login.as_mut().map(|one| &mut one.body);
            let register = principal.register.as_mut().map(|one| &mut one.body);
            let mint = principal.mint.as_mut().map(|one| &mut one.body);
            for body in login.into_iter().chain(register).chain(mint) {
                fill(body).map_err(|variable| format!("principals.{name}: ${variable} is not set"))?;
            }
        }
        Ok(())
    }

    /// Reads the text of a profile file; the error says where and why.
    pub fn parse(text: &str) -> Result<Profile, String> {
        toml::from_str(text).map_err(|error| {
            let message = error.to_string();
            match nearest_key(error.message()) {
                Some(hint) => format!("{}\nhelp: did you mean `{hint}`?", message.trim_end()),
                None => message.trim_end().to_owned(),
            }
        })
    }

    /// Holds the profile to the contract: schemes, operations, classes and quotas must exist, every principal must have
    /// one way to a credential. All misfits at once.
    pub fn check(&self, contract: &Contract) -> Result<(), ProfileError> {
        let mut misfits = Vec::new();
        let schemes: Vec<&str> = contract.security_schemes.keys().map(String::as_str).collect();
        let operations: Vec<&str> = contract.operations.iter().map(|operation| operation.id.as_str()).collect();
        let classes: Vec<&str> = contract
            .vocabulary
            .iter()
            .filter_map(|vocabulary| vocabulary.rate_limits.as_ref())
            .flat_map(|limits| limits.classes.keys().map(String::as_str))
            .collect();
        let quotas: Vec<&str> =
            contract.vocabulary.iter().flat_map(|vocabulary| vocabulary.quotas.keys().map(String::as_str)).collect();
        let names: Vec<&str> = self.principals.keys().map(String::as_str).collect();
        let codes: Vec<&str> = contract.error_codes().keys().map(String::as_str).collect();
        let mut known = |place: String, what: &str, name: &str, names: &[&str]| {
            if !names.contains(&name) {
                let hint = nearest(name, names).map(|hint| format!("; did you mean `{hint}`?")).unwrap_or_default();
                misfits.push(format!("  {place}: the contract has no {what} `{name}`{hint}"));
            }
        };
        for (name, principal) in &self.principals {
            let place = |key: &str| format!("principals.{name}.{key}");
            known(place("scheme"), "security scheme", &principal.scheme, &schemes);
            for scheme in principal.credentials.keys() {
                known(place("credentials"), "security scheme", scheme, &schemes);
            }
            if let Some(login) = &principal.login {
                known(place("login.operation"), "operation", &login.operation, &operations);
            }
            if let Some(register) = &principal.register {
                known(place("register.operation"), "operation", &register.operation, &operations);
                if let Some(by) = &register.by {
                    known(place("register.as"), "principal", by, &names);
                }
            }
            if let Some(mint) = &principal.mint {
                known(place("mint.operation"), "operation", &mint.operation, &operations);
                if let Some(scheme) = &mint.scheme {
                    known(place("mint.scheme"), "security scheme", scheme, &schemes);
                }
                if let Some(revoke) = &mint.revoke {
                    known(place("mint.revoke"), "operation", revoke, &operations);
                }
            }
            for operation in &principal.denied {
                known(place("denied"), "operation", operation, &operations);
            }
            if let Some(code) = &principal.denied_code {
                known(place("denied-code"), "error code", code, &codes);
            }
            for quota in principal.quotas.keys() {
                known(place("quotas"), "quota", quota, &quotas);
            }
        }
        for (index, bad) in self.bad_credentials.iter().enumerate() {
            known(format!("bad-credentials.{index}.scheme"), "security scheme", &bad.scheme, &schemes);
        }
        for class in self.limits.keys() {
            known("limits".to_owned(), "rate class", class, &classes);
        }
        for (name, principal) in &self.principals {
            let ways = [principal.credential.is_some(), principal.credential_env.is_some(), principal.login.is_some()];
            if ways.into_iter().filter(|way| *way).count() != 1 {
                misfits.push(format!(
                    "  principals.{name}: needs exactly one of `credential`, `credential-env` and `login`"
                ));
            }
            if let Some(login) = &principal.login
                && (!is_place(&login.token) || login.refresh.as_ref().is_some_and(|place| !is_place(place)))
            {
                misfits.push(format!(
                    "  principals.{name}.login: `token` and `refresh` are JSON Pointers such as /access, `header:NAME` or \
                     `cookie:NAME`"
                ));
            }
            if let Some(mint) = &principal.mint {
                if !is_place(&mint.token) {
                    misfits.push(format!(
                        "  principals.{name}.mint: `token` is a JSON Pointer such as /key, or `header:NAME`"
                    ));
                }
                if !mint.scopes.starts_with('/') {
                    misfits.push(format!("  principals.{name}.mint: `scopes` is a JSON Pointer such as /scopes"));
                }
            }
        }
        if misfits.is_empty() { Ok(()) } else { Err(ProfileError::Misfit(misfits)) }
    }
}

impl Principal {
    /// The group, or the principal's own name.
    pub fn group<'a>(&'a self, name: &'a str) -> &'a str {
        self.group.as_deref().unwrap_or(name)
    }

    /// Whether it has a credential of this scheme.
    pub fn holds(&self, scheme: &str) -> bool {
        self.scheme == scheme || self.credentials.contains_key(scheme)
    }

    /// The first alternative of an operation's security that its credentials satisfy, that of its own scheme among them.
    pub fn opens<'o>(&self, operation: &'o Operation) -> Option<&'o SecurityRequirement> {
        operation.security.iter().find(|alternative| {
            alternative.schemes.contains_key(&self.scheme)
                && alternative.schemes.keys().all(|scheme| self.holds(scheme))
        })
    }
}

/// Puts variables of the environment into every text of a value; the error is the name of one that is not set.
fn fill(value: &mut Value) -> Result<(), String> {
    match value {
        Value::String(text) => {
            // What a variable holds is not looked into again.
            let (mut filled, mut rest) = (String::new(), text.as_str());
            while let Some((before, after)) = rest.split_once("{env:")
                && let Some((name, after)) = after.split_once('}')
            {
                filled.push_str(before);
                filled.push_str(&std::env::var(name).map_err(|_| name.to_owned())?);
                rest = after;
            }
            filled.push_str(rest);
            *text = filled;
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(fill),
        Value::Object(members) => members.values_mut().try_for_each(fill),
        _ => Ok(()),
    }
}

/// A place in an answer: a JSON Pointer, `header:NAME` or `cookie:NAME`.
fn is_place(text: &str) -> bool {
    let named = |prefix: &str| text.strip_prefix(prefix).is_some_and(|name| !name.is_empty());
    text.starts_with('/') || named("header:") || named("cookie:")
}

impl fmt::Display for Safety {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Safety::Observe => "observe",
            Safety::Own => "own",
            Safety::Full => "full",
        })
    }
}

impl std::str::FromStr for Safety {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "observe" => Ok(Safety::Observe),
            "own" => Ok(Safety::Own),
            "full" => Ok(Safety::Full),
            _ => Err(format!("`{text}` is not one of observe, own, full")),
        }
    }
}

impl fmt::Display for BadCredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadCredentialKind::Expired => "expired",
            BadCredentialKind::Revoked => "revoked",
        })
    }
}

/// The JSON Schema of a profile file.
pub fn json_schema() -> Value {
    schemars::schema_for!(Profile).to_value()
}

/// The name in `names` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let best = names.iter().map(|candidate| (distance(name, candidate), *candidate)).min()?;
    (best.0 <= 1 + name.chars().count() / 3).then_some(best.1)
}

/// Reads serde's "unknown field `a`, expected one of `b`, `c`".
fn nearest_key(message: &str) -> Option<String> {
    let rest = message.split("unknown field `").nth(1)?;
    let mut quoted = rest.split('`').step_by(2);
    let name = quoted.next()?;
    let names: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    nearest(name, &names).map(str::to_owned)
}

/// Edits from one word to the other (Levenshtein), case ignored.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
