//! Sessions: the credential of each principal, got when first needed and again before it expires.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;

use super::bindings::{CaseContext, Made};
use super::{Run, RunError};
use crate::case::{Argument, ArgumentValue, Call, CallBody, Caller, Expect};
use crate::exchange::{Exchange, Failure};
use crate::profile::{Principal, Register, ScopeForm};

/// What a login gave, or a static credential.
#[derive(Debug)]
pub(crate) struct Session {
    /// The token or key, without a prefix.
    pub(crate) credential: String,
    /// The login's answer; null for a static credential.
    pub(crate) answer: Value,
    /// The target's clock at the login, in milliseconds since 1970.
    obtained_ms: i64,
    /// How long the credential is good for, in milliseconds.
    lifetime_ms: Option<i64>,
}

#[derive(Default)]
pub(crate) struct Sessions {
    current: Mutex<HashMap<String, Arc<Session>>>,
    /// Credentials made through the API, by maker and scopes.
    minted: Mutex<HashMap<(String, Vec<String>), String>>,
    /// Credentials made and taken back, by maker.
    revoked: Mutex<HashMap<String, String>>,
    /// Principals whose account this run has made.
    registered: Mutex<Vec<String>>,
}

impl Run {
    /// The running session of a principal; a new one where there is none or it is about to end.
    pub(crate) async fn session(&self, name: &str) -> Result<Arc<Session>, String> {
        // One login at a time: two workers that find no session must not both log in.
        let mut current = self.sessions.current.lock().await;
        if let Some(session) = current.get(name)
            && !session.is_ending(self.target.now_ms())
        {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(self.new_session(name).await.map_err(|why| why.to_string())?);
        current.insert(name.to_owned(), Arc::clone(&session));
        Ok(session)
    }

    /// The next request of a principal logs in anew.
    pub(crate) async fn forget_session(&self, name: &str) {
        self.sessions.current.lock().await.remove(name);
    }

    /// A session of its own, for a case that will end it or let it end.
    pub(crate) async fn fresh_session(&self, name: &str) -> Result<Arc<Session>, String> {
        self.new_session(name).await.map(Arc::new).map_err(|why| why.to_string())
    }

    async fn new_session(&self, name: &str) -> Result<Session, LoginFailure> {
        let principal = self
            .profile
            .principals
            .get(name)
            .ok_or_else(|| LoginFailure::Refused(format!("the profile has no principal `{name}`")))?;
        for (value, secret) in &principal.values {
            if let (Some(text), true) = (secret.as_str(), self.subject.is_secret_parameter(value)) {
                self.learn_secret(text, format!("${}_{}", shout(name), shout(value)));
            }
        }
        let lifetime = self
            .subject
            .contract
            .security_schemes
            .get(&principal.scheme)
            .and_then(|scheme| scheme.credential.as_ref()?.lifetime)
            .map(|window| i64::try_from(window.0.as_millis()).unwrap_or(i64::MAX));
        let Some(login) = &principal.login else {
            let credential = static_credential(principal).map_err(LoginFailure::Refused)?;
            // How old a given credential is nobody knows, so it is never thought to be ending.
            return Ok(Session { credential, answer: Value::Null, obtained_ms: 0, lifetime_ms: None });
        };
        let operation = self.position(&login.operation)?;
        self.learn_body(name, &login.body);
        if let Some(register) = &principal.register {
            self.register(name, register).await?;
        }
        let now = self.target.now_ms();
        let call = self.scripted(operation, &login.body, &login.parameters, Caller::Anonymous);
        let exchange = self.send_plain(&call).await.map_err(LoginFailure::Refused)?;
        let answer = self.accepted(&login.operation, &exchange)?;
        let token = taken(&exchange, &login.token);
        let Some(token) = token else {
            return Err(LoginFailure::Refused(format!(
                "{}'s answer has no string at {}",
                login.operation, login.token
            )));
        };
        self.learn_secret(&token, format!("${}_TOKEN", shout(name)));
        if let Some(refresh) = login.refresh.as_ref().and_then(|place| taken(&exchange, place)) {
            self.learn_secret(&refresh, format!("${}_REFRESH", shout(name)));
        }
        Ok(Session { credential: token, answer, obtained_ms: now, lifetime_ms: lifetime })
    }

    /// Learns the secrets in a body of the profile as they will be sent.
    fn learn_body(&self, name: &str, body: &Value) {
        let mut body = body.clone();
        fill_run(&mut body, &self.nonce);
        for (key, value) in strings(&body) {
            if is_secret_key(&key) {
                self.learn_secret(value, format!("${}_{}", shout(name), shout(&key)));
            }
        }
    }

    /// A call whose body and parameters the profile writes out.
    fn scripted(
        &self,
        operation: usize,
        body: &Value,
        parameters: &indexmap::IndexMap<String, Value>,
        caller: Caller,
    ) -> Call {
        let documented = self.subject.operation(operation);
        let arguments = documented
            .parameters
            .iter()
            .enumerate()
            .filter_map(|(parameter, one)| {
                let value = parameters.get(&one.name)?.clone();
                Some(Argument { parameter, value: ArgumentValue::Value(value) })
            })
            .collect();
        let media = documented.body.as_ref().map_or(0, crate::plan::preferred_media);
        let mut value = body.clone();
        fill_run(&mut value, &self.nonce);
        let body = (!body.is_null()).then(|| CallBody::Value { media, value, bindings: Vec::new() });
        Call {
            operation,
            caller,
            from: self.profile.addresses.first().copied(),
            arguments,
            body,
            twist: None,
            expect: Expect::Valid { bound: true },
        }
    }

    /// The answer of a call that had to succeed.
    fn accepted(&self, operation: &str, exchange: &Exchange) -> Result<Value, LoginFailure> {
        let response = exchange.outcome.as_ref().map_err(|failure| LoginFailure::NoAnswer(failure.clone()))?;
        let answer = exchange.json().cloned().unwrap_or(Value::Null);
        // A browser's login answers with a redirection and a cookie.
        if !(200..400).contains(&response.status) {
            let code = self.subject.code_of(&answer).map(|code| format!(" ({code})")).unwrap_or_default();
            return Err(LoginFailure::Refused(format!("{operation} answered {}{code}", response.status)));
        }
        Ok(answer)
    }

    fn position(&self, operation: &str) -> Result<usize, LoginFailure> {
        let position = self.subject.contract.operations.iter().position(|one| one.id == operation);
        position.ok_or_else(|| LoginFailure::Refused(format!("there is no operation `{operation}`")))
    }

    /// Makes a principal's account; once a run.
    async fn register(&self, name: &str, register: &Register) -> Result<(), LoginFailure> {
        let mut registered = self.sessions.registered.lock().await;
        if registered.iter().any(|known| known == name) {
            return Ok(());
        }
        let operation = self.position(&register.operation)?;
        let caller = register.by.clone().map_or(Caller::Anonymous, Caller::Principal);
        self.learn_body(name, &register.body);
        let call = self.scripted(operation, &register.body, &indexmap::IndexMap::new(), caller);
        let sent = Box::pin(self.send(&call, &mut CaseContext::default())).await;
        let exchange = sent.map_err(LoginFailure::Refused)?;
        self.accepted(&register.operation, &exchange)?;
        registered.push(name.to_owned());
        Ok(())
    }

    /// A credential with exactly these scopes, made by a principal; made once and used by every case that asks for it.
    pub(crate) async fn minted(&self, by: &str, scopes: &[String]) -> Result<String, String> {
        let mut minted = self.sessions.minted.lock().await;
        let key = (by.to_owned(), scopes.to_vec());
        if let Some(known) = minted.get(&key) {
            return Ok(known.clone());
        }
        let (credential, _) = self.mint(by, scopes).await?;
        minted.insert(key, credential.clone());
        Ok(credential)
    }

    /// A credential that was made and taken back.
    pub(crate) async fn revoked(&self, by: &str) -> Result<String, String> {
        let mut revoked = self.sessions.revoked.lock().await;
        if let Some(known) = revoked.get(by) {
            return Ok(known.clone());
        }
        let scopes = self.planner().mintable(by);
        let (credential, made) = self.mint(by, &scopes).await?;
        let (operation, arguments) =
            self.planner().revocation(by, &made).ok_or("the document shows no way to take a credential back")?;
        let call = Call {
            arguments,
            ..self.scripted(operation, &Value::Null, &indexmap::IndexMap::new(), Caller::Principal(by.to_owned()))
        };
        let exchange = Box::pin(self.send(&call, &mut CaseContext::default())).await?;
        let id = &self.subject.operation(operation).id;
        self.accepted(id, &exchange).map_err(|why| why.to_string())?;
        revoked.insert(by.to_owned(), credential.clone());
        Ok(credential)
    }

    async fn mint(&self, by: &str, scopes: &[String]) -> Result<(String, Made), String> {
        let mint = self.profile.principals.get(by).and_then(|one| one.mint.as_ref());
        let mint = mint.ok_or_else(|| format!("principal `{by}` makes no credentials"))?;
        let operation = self.position(&mint.operation).map_err(|why| why.to_string())?;
        let mut body = mint.body.clone();
        let set = match mint.written_as {
            ScopeForm::List => scopes.iter().map(|scope| Value::from(scope.as_str())).collect(),
            ScopeForm::Text => Value::from(scopes.join(" ")),
        };
        put(&mut body, &mint.scopes, set);
        let documented = self.subject.operation(operation);
        let caller = if documented.is_secured() { Caller::Principal(by.to_owned()) } else { Caller::Anonymous };
        let call = self.scripted(operation, &body, &indexmap::IndexMap::new(), caller);
        let exchange = Box::pin(self.send(&call, &mut CaseContext::default())).await?;
        self.accepted(&mint.operation, &exchange).map_err(|why| why.to_string())?;
        let credential = taken(&exchange, &mint.token)
            .ok_or_else(|| format!("{}'s answer has no string at {}", mint.operation, mint.token))?;
        self.learn_secret(&credential, format!("${}_MINTED", shout(by)));
        Ok((credential, Made::of(documented, &call, &exchange)))
    }

    /// Proves each principal: the way to its credential, and where the document has a plain reading for it, that the service
    /// takes the credential. Name and outcome of each.
    pub(super) async fn prove_each(&self) -> Vec<(String, Result<String, String>)> {
        let mut outcomes = Vec::new();
        for name in self.profile.principals.keys() {
            let outcome = match self.new_session(name).await {
                Ok(session) => {
                    self.sessions.current.lock().await.insert(name.clone(), Arc::new(session));
                    self.known_good(name).await
                }
                Err(why) => Err(why.to_string()),
            };
            outcomes.push((name.clone(), outcome.map_err(|why| self.redact(&why))));
        }
        outcomes
    }

    /// Gets every principal its credential, and proves that somebody answers.
    pub(super) async fn prove_principals(&self) -> Result<(), RunError> {
        let unreachable = |why: String| RunError::Unreachable { url: self.target.base_url().to_owned(), why };
        let probe = Call {
            operation: 0,
            caller: Caller::Anonymous,
            from: self.profile.addresses.first().copied(),
            arguments: Vec::new(),
            body: None,
            twist: Some(crate::case::Twist::Path("/".to_owned())),
            expect: Expect::UnknownPath,
        };
        if !self.subject.contract.operations.is_empty() {
            let exchange = self.send_plain(&probe).await.map_err(unreachable)?;
            if let Err(failure @ (Failure::Unreachable(_) | Failure::Timeout(_))) = &exchange.outcome {
                return Err(unreachable(failure.to_string()));
            }
        }
        for name in self.profile.principals.keys() {
            let session = match self.new_session(name).await {
                Ok(session) => Arc::new(session),
                Err(LoginFailure::NoAnswer(failure)) => return Err(unreachable(failure.to_string())),
                Err(LoginFailure::Refused(why)) => {
                    return Err(RunError::CredentialDead { principal: name.clone(), why });
                }
            };
            self.sessions.current.lock().await.insert(name.clone(), session);
        }
        Ok(())
    }
}

impl Session {
    /// The last tenth of the lifetime, a minute at the most, is not relied on.
    fn is_ending(&self, now_ms: i64) -> bool {
        self.lifetime_ms.is_some_and(|lifetime| now_ms - self.obtained_ms >= lifetime - (lifetime / 10).min(60_000))
    }

    /// How long the credential is good for, in milliseconds, if the contract says.
    pub(crate) fn lifetime_ms(&self) -> Option<i64> {
        self.lifetime_ms
    }
}

enum LoginFailure {
    NoAnswer(Failure),
    Refused(String),
}

impl std::fmt::Display for LoginFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoginFailure::NoAnswer(failure) => failure.fmt(f),
            LoginFailure::Refused(why) => f.write_str(why),
        }
    }
}

fn static_credential(principal: &Principal) -> Result<String, String> {
    match (&principal.credential, &principal.credential_env) {
        (Some(credential), _) => Ok(credential.clone()),
        (None, Some(variable)) => std::env::var(variable).map_err(|_| format!("${variable} is not set")),
        (None, None) => Err("it has neither a credential nor a login".to_owned()),
    }
}

/// `alice-key` is shown as `$ALICE_KEY_…`.
pub(super) fn shout(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

pub(super) fn is_secret_key(key: &str) -> bool {
    ["password", "secret", "token", "key"].iter().any(|word| key.to_lowercase().contains(word))
}

/// `{run}` in every text of a value becomes what is different in every run.
fn fill_run(value: &mut Value, nonce: &str) {
    match value {
        Value::String(text) if text.contains("{run}") => *text = text.replace("{run}", nonce),
        Value::Array(items) => items.iter_mut().for_each(|item| fill_run(item, nonce)),
        Value::Object(members) => members.values_mut().for_each(|member| fill_run(member, nonce)),
        _ => {}
    }
}

/// Puts a value where a JSON Pointer leads, with a new member at its end if need be.
fn put(body: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    if let Some(Value::Object(members)) = body.pointer_mut(parent) {
        members.insert(last.replace("~1", "/").replace("~0", "~"), value);
    }
}

/// What stands at a place of an answer: a JSON Pointer, `header:NAME` or `cookie:NAME`.
fn taken(exchange: &Exchange, place: &str) -> Option<String> {
    if let Some(name) = place.strip_prefix("header:") {
        let text = exchange.response()?.header(name)?.trim();
        return Some(text.strip_prefix("Bearer ").unwrap_or(text).to_owned());
    }
    if let Some(name) = place.strip_prefix("cookie:") {
        // RFC 6265 section 5.2.
        let cookies = exchange.response()?.headers.get_all(http::header::SET_COOKIE);
        return cookies.iter().filter_map(|cookie| cookie.to_str().ok()).find_map(|cookie| {
            let (given, value) = cookie.split(';').next()?.split_once('=')?;
            (given.trim() == name).then(|| value.trim().to_owned())
        });
    }
    exchange.json()?.pointer(place)?.as_str().map(str::to_owned)
}

/// Every string in a value with the key it stands under.
pub(crate) fn strings(value: &Value) -> Vec<(String, &str)> {
    fn walk<'a>(key: &str, value: &'a Value, found: &mut Vec<(String, &'a str)>) {
        match value {
            Value::String(text) => found.push((key.to_owned(), text)),
            Value::Array(items) => items.iter().for_each(|item| walk(key, item, found)),
            Value::Object(members) => members.iter().for_each(|(key, member)| walk(key, member, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk("", value, &mut found);
    found
}
