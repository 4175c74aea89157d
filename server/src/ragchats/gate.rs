//! Who may come in: access tokens of users and keys of agents, both as bearer credentials, and what each counts on.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use contract_ragchats::operations::schemes;
use contract_ragchats::problems::InvalidApiKey;
use contract_ragchats::server::GateFailure;
use http::request::Parts;
use trueline_runtime::contract::{Per, RateClass};
use trueline_runtime::gate::{Call, Gate, Identity, Standing};

use super::Service;
use super::access::{self, Principal, id, internal};
use super::authentication::refused_token;
use crate::platform::http::{CallerName, ClientAddress, REQUEST_ID};
use crate::platform::limiter::Limit;
use crate::platform::tokens::{TokenKind, looks_like_jwt};

impl Gate for Service {
    type Principal = Principal;
    type Failure = GateFailure;

    async fn identify(&self, call: Call<'_>) -> Result<Option<Identity<Principal>>, GateFailure> {
        let Some(credential) = call.bearer() else { return Ok(None) };
        // Both kinds come in the same header; their shapes tell them apart.
        let identity = if looks_like_jwt(credential) {
            let claims = refused_token::<GateFailure>(self.0.sessions.verify(credential, TokenKind::Access).await)?;
            let user = id(&claims.sub).map_err(internal)?;
            Identity::new(Principal::User { id: user, session: claims.sid }, schemes::JWT_AUTH)
        } else {
            let key = access::agent_key(&self.0.store, credential).await.map_err(internal)?;
            let key = key.ok_or_else(|| InvalidApiKey::because("The API key is unknown or has been revoked."))?;
            Identity::new(key, schemes::AGENT_API_KEY)
        };
        if let Some(name) = call.parts.extensions.get::<CallerName>() {
            name.set(identity.principal.describe());
        }
        Ok(Some(identity))
    }

    fn counter<'a>(&'a self, per: Per, identity: &'a Identity<Principal>) -> Option<Cow<'a, str>> {
        match (per, &identity.principal) {
            (Per::User, Principal::User { id, .. }) => Some(id.to_string().into()),
            (Per::Credential, Principal::User { session, .. }) => Some(session.into()),
            (Per::Credential, Principal::AgentKey { id, .. }) => Some(id.to_string().into()),
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
    /// The contract's figure, or the operator's in its place.
    fn limit(&self, class: &'static RateClass) -> Limit {
        Limit {
            requests: self.0.limits.get(class.name).copied().unwrap_or(class.limit),
            window: Duration::from_secs(class.window_seconds),
        }
    }
}
