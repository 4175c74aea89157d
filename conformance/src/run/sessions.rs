//! Sessions: the credential of each principal, got when first needed and again before it expires.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;

use super::{Run, RunError};
use crate::case::{Call, CallBody, Caller, Expect};
use crate::exchange::Failure;
use crate::profile::Principal;

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
        for (scheme, credential) in &principal.credentials {
            self.learn_secret(credential, format!("${}_{}", shout(name), shout(scheme)));
        }
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
        let operation = self
            .subject
            .contract
            .operations
            .iter()
            .position(|operation| operation.id == login.operation)
            .ok_or_else(|| LoginFailure::Refused(format!("there is no operation `{}`", login.operation)))?;
        let media = self.subject.operation(operation).body.as_ref().map_or(0, crate::plan::preferred_media);
        let call = Call {
            operation,
            caller: Caller::Anonymous,
            from: self.profile.addresses.first().copied(),
            arguments: Vec::new(),
            body: Some(CallBody::Value { media, value: login.body.clone(), bindings: Vec::new() }),
            twist: None,
            expect: Expect::Valid { bound: true },
        };
        let now = self.target.now_ms();
        let exchange = self.send_plain(&call).await.map_err(LoginFailure::Refused)?;
        let response = match &exchange.outcome {
            Ok(response) => response,
            Err(failure) => return Err(LoginFailure::NoAnswer(failure.clone())),
        };
        let answer = exchange.json().cloned().unwrap_or(Value::Null);
        if !(200..300).contains(&response.status) {
            let code = self.subject.code_of(&answer).map(|code| format!(" ({code})")).unwrap_or_default();
            let operation = &login.operation;
            return Err(LoginFailure::Refused(format!("{operation} answered {}{code}", response.status)));
        }
        let token = answer.pointer(&login.token).and_then(Value::as_str);
        let Some(token) = token else {
            return Err(LoginFailure::Refused(format!(
                "{}'s answer has no string at {}",
                login.operation, login.token
            )));
        };
        self.learn_secret(token, format!("${}_TOKEN", shout(name)));
        if let Some(refresh) =
            login.refresh.as_ref().and_then(|pointer| answer.pointer(pointer)).and_then(Value::as_str)
        {
            self.learn_secret(refresh, format!("${}_REFRESH", shout(name)));
        }
        Ok(Session { credential: token.to_owned(), answer, obtained_ms: now, lifetime_ms: lifetime })
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
