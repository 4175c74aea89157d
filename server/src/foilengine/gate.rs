//! Who may come in: users with a token of the identity provider, games with a key, and what each counts on.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use contract_foilengine::operations::schemes;
use contract_foilengine::problems::{ServiceUnavailable, Unauthorized};
use contract_foilengine::server::GateFailure;
use http::header::AUTHORIZATION;
use http::request::Parts;
use trueline_runtime::contract::{Per, RateClass};
use trueline_runtime::gate::{Call, Gate, Identity, Standing};

use super::Service;
use super::access::{self, Principal, User, internal};
use crate::platform::http::{CallerName, ClientAddress, REQUEST_ID};
use crate::platform::issuer::IssuedTokenError;
use crate::platform::limiter::Limit;
use crate::platform::tokens::Secret;

const API_KEY: &str = "x-api-key";
const LLM_KEY: &str = "x-llm-api-key";

impl Gate for Service {
    type Principal = Principal;
    type Failure = GateFailure;

    async fn identify(&self, call: Call<'_>) -> Result<Option<Identity<Principal>>, GateFailure> {
        let takes = |scheme| call.operation.is_some_and(|operation| operation.knows(scheme));
        let identity = if takes(schemes::JWT_AUTH) && call.parts.headers.contains_key(AUTHORIZATION) {
            Identity::new(Principal::User(self.user(call.bearer()).await?), schemes::JWT_AUTH)
        } else if takes(schemes::API_KEY_AUTH) && call.parts.headers.contains_key(API_KEY) {
            self.game(call).await?
        } else {
            return Ok(None);
        };
        if let Some(name) = call.parts.extensions.get::<CallerName>() {
            name.set(identity.principal.describe());
        }
        Ok(Some(identity))
    }

    fn counter<'a>(&'a self, per: Per, identity: &'a Identity<Principal>) -> Option<Cow<'a, str>> {
        match (per, &identity.principal) {
            (Per::Credential, Principal::Game { key, .. }) => Some(key.to_string().into()),
            (Per::User, Principal::User(user)) => Some(user.id.to_string().into()),
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
    async fn user(&self, token: Option<&str>) -> Result<User, GateFailure> {
        let refused = || Unauthorized::because("The token is not valid.");
        let claims = match self.0.verifier.verify(token.ok_or_else(refused)?).await {
            Ok(claims) => claims,
            Err(IssuedTokenError::Invalid) => return Err(refused().into()),
            Err(IssuedTokenError::Expired) => return Err(Unauthorized::because("The token has expired.").into()),
            Err(error @ IssuedTokenError::Unchecked(_)) => {
                let _ = internal(error);
                return Err(ServiceUnavailable::because("Tokens cannot be checked at the moment.").into());
            }
        };
        Ok(User::of(&claims).ok_or_else(refused)?)
    }

    async fn game(&self, call: Call<'_>) -> Result<Identity<Principal>, GateFailure> {
        let refused = || Unauthorized::because("The API key is unknown or has been revoked.");
        let key = call.header(API_KEY).ok_or_else(refused)?;
        let known = access::api_key(&self.0.store, &self.0.clock, key).await.map_err(internal)?;
        let (key, owner) = known.ok_or_else(refused)?;
        let llm_key = call.header(LLM_KEY).filter(|key| !key.is_empty()).map(Secret::new);
        let proved = match llm_key {
            Some(_) => schemes::API_KEY_AUTH | schemes::LLM_KEY_AUTH,
            None => schemes::API_KEY_AUTH,
        };
        Ok(Identity::new(Principal::Game { key, owner, llm_key }, proved))
    }

    /// The contract's figure, or the operator's in its place.
    fn limit(&self, class: &'static RateClass) -> Limit {
        Limit {
            requests: self.0.limits.get(class.name).copied().unwrap_or(class.limit),
            window: Duration::from_secs(class.window_seconds),
        }
    }
}
