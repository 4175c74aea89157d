//! Who may come in: API keys in either of two headers, sessions of the web pages in a cookie, and what each counts on.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use contract_smartsbio::operations::schemes;
use contract_smartsbio::problems::{AuthRequired, KeyExpired, KeyRevoked};
use contract_smartsbio::server::GateFailure;
use http::request::Parts;
use trueline_runtime::contract::{Per, RateClass};
use trueline_runtime::decode::cookie;
use trueline_runtime::gate::{Call, Gate, Identity, Standing};

use super::Service;
use super::access::{Principal, internal};
use crate::platform::http::{CallerName, ClientAddress, REQUEST_ID};
use crate::platform::limiter::Limit;
use crate::platform::tokens::{TokenError, TokenKind};

impl Gate for Service {
    type Principal = Principal;
    type Failure = GateFailure;

    async fn identify(&self, call: Call<'_>) -> Result<Option<Identity<Principal>>, GateFailure> {
        // Each operation takes keys or sessions, so only that kind is looked at.
        let takes_sessions = call.operation.is_some_and(|operation| {
            operation.security.iter().any(|alternative| alternative.contains(schemes::WEB_SESSION))
        });
        let identity = if takes_sessions { self.session(call).await? } else { self.key(call).await? };
        if let (Some(identity), Some(name)) = (&identity, call.parts.extensions.get::<CallerName>()) {
            name.set(identity.principal.describe());
        }
        Ok(identity)
    }

    fn counter<'a>(&'a self, per: Per, identity: &'a Identity<Principal>) -> Option<Cow<'a, str>> {
        match (per, &identity.principal) {
            (Per::Credential, Principal::Key(key)) => Some(Cow::Borrowed(&key.id)),
            (Per::Credential, Principal::Session { id, .. }) => Some(Cow::Borrowed(id)),
            _ => None,
        }
    }

    async fn count(&self, class: &'static RateClass, counter: &str) -> Standing {
        self.0.limiter.count(class.name, counter, self.limit(class))
    }

    async fn peek(&self, class: &'static RateClass, counter: &str) -> Standing {
        self.0.limiter.look(class.name, counter, self.limit(class))
    }

    fn address(&self, call: Call<'_>) -> Option<IpAddr> {
        call.parts.extensions.get::<ClientAddress>().map(|client| client.counted()).or(call.peer)
    }

    /// The id that [`crate::platform::http::observe`] has put there.
    fn request_id(&self, parts: &Parts) -> Arc<str> {
        let given = parts.headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        given.map_or_else(|| uuid::Uuid::new_v4().to_string().into(), Into::into)
    }
}

impl Service {
    async fn key(&self, call: Call<'_>) -> Result<Option<Identity<Principal>>, GateFailure> {
        // `Authorization` counts where it is there, also when what stands in it is no good.
        let (credential, scheme) = match call.parts.headers.contains_key(http::header::AUTHORIZATION) {
            true => (call.bearer(), schemes::BEARER_KEY),
            false => (call.header("x-api-key"), schemes::HEADER_KEY),
        };
        let present = call.parts.headers.contains_key(http::header::AUTHORIZATION)
            || call.parts.headers.contains_key("x-api-key");
        let credential = credential.filter(|text| is_well_formed(text));
        let Some(credential) = credential else {
            return match present {
                true => Err(AuthRequired::because("The API key is malformed.").into()),
                false => Ok(None),
            };
        };
        let key = self.find_key(credential).await.map_err(internal)?;
        let key = key.ok_or_else(|| AuthRequired::because("The API key is unknown."))?;
        if key.revoked_ms.is_some() {
            return Err(KeyRevoked::because("This API key has been revoked. Generate a new one.").into());
        }
        if key.expires_ms.is_some_and(|expires| self.0.clock.now_ms() >= expires) {
            return Err(KeyExpired::because("This API key has expired. Generate a new one.").into());
        }
        let scopes = Arc::clone(&key.scopes);
        Ok(Some(Identity::new(Principal::Key(key), scheme).with_scopes(scopes)))
    }

    async fn session(&self, call: Call<'_>) -> Result<Option<Identity<Principal>>, GateFailure> {
        let mut headers = call.parts.headers.get_all(http::header::COOKIE).iter();
        let token = headers.find_map(|header| cookie(header.to_str().ok()?, "session"));
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
        match self.0.sessions.verify(token, TokenKind::Access).await {
            Ok(claims) => {
                let principal = Principal::Session { id: claims.sid, organization: claims.sub };
                Ok(Some(Identity::new(principal, schemes::WEB_SESSION)))
            }
            Err(TokenError::Unchecked(error)) => Err(internal(error).into()),
            Err(_) => Err(AuthRequired::because("You are not signed in.").into()),
        }
    }

    /// The contract's figure, or the operator's in its place.
    fn limit(&self, class: &'static RateClass) -> Limit {
        Limit {
            requests: self.0.limits.get(class.name).copied().unwrap_or(class.limit),
            window: Duration::from_secs(class.window_seconds),
        }
    }
}

/// What stands before the 32 letters and digits of every key.
pub(super) const KEY_PREFIX: &str = "sk_live_";

fn is_well_formed(credential: &str) -> bool {
    let rest = credential.strip_prefix(KEY_PREFIX);
    rest.is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}
