//! Who may come in: access tokens of sessions and API keys, and what each counts on.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use contract_xentree::operations::schemes;
use contract_xentree::problems::{Forbidden, InternalServerError, Unauthorized};
use contract_xentree::server::GateFailure;
use http::request::Parts;
use ipnet::IpNet;
use trueline_runtime::contract::{Per, RateClass};
use trueline_runtime::gate::{Call, Gate, Identity, Standing};

use super::Service;
use super::access::{Credential, Principal, internal};
use super::api_keys;
use crate::platform::http::{CallerName, ClientAddress, REQUEST_ID};
use crate::platform::limiter::Limit;
use crate::platform::tokens::{TokenError, TokenKind};

/// The header of API keys.
const API_KEY: &str = "x-api-key";

impl Gate for Service {
    type Principal = Principal;
    type Failure = GateFailure;

    async fn identify(&self, call: Call<'_>) -> Result<Option<Identity<Principal>>, GateFailure> {
        // Where both are shown, the session's token counts.
        let identity = if let Some(token) = call.bearer() {
            let claims = verified::<GateFailure, _>(self.0.sessions.verify(token, TokenKind::Access).await)?;
            let credential = Credential::Session(claims.sid);
            Identity::new(Principal { user: claims.sub, credential }, schemes::BEARER_AUTH)
        } else if let Some(key) = call.header(API_KEY) {
            let found = api_keys::find(&self.0, key).await.map_err(internal)?.ok_or_else(invalid)?;
            let identity = Identity::new(found.principal, schemes::API_KEY_AUTH);
            match found.scopes {
                Some(scopes) => identity.with_scopes(scopes),
                None => identity,
            }
        } else {
            return Ok(None);
        };
        if let Some(name) = call.parts.extensions.get::<CallerName>() {
            name.set(identity.principal.describe());
        }
        Ok(Some(identity))
    }

    /// A key with a list of addresses is good from these only. Judged after the scopes, like everything else that the
    /// contract calls a permission.
    async fn authorize(&self, call: Call<'_>, identity: &Identity<Principal>) -> Result<(), GateFailure> {
        let Credential::Key { allowed_ips, .. } = &identity.principal.credential else { return Ok(()) };
        if allowed_ips.is_empty() {
            return Ok(());
        }
        let address = call.parts.extensions.get::<ClientAddress>().map(|client| client.0).or(call.peer);
        let within = |address: IpAddr| {
            let networks = allowed_ips.iter().filter_map(|text| api_keys::network(text));
            networks.into_iter().any(|network: IpNet| network.contains(&address.to_canonical()))
        };
        match address.is_some_and(within) {
            true => Ok(()),
            false => Err(Forbidden::because("This API key is not good from this address").into()),
        }
    }

    fn counter<'a>(&'a self, per: Per, identity: &'a Identity<Principal>) -> Option<Cow<'a, str>> {
        match (per, &identity.principal) {
            (Per::User, principal) => Some(principal.user.as_str().into()),
            (Per::Credential, Principal { credential: Credential::Session(session), .. }) => Some(session.into()),
            (Per::Credential, Principal { credential: Credential::Key { id, .. }, .. }) => Some(id.into()),
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

/// What a good token gives, or the one answer that there is to a bad one.
pub(super) fn verified<E, T>(verified: Result<T, TokenError>) -> Result<T, E>
where
    E: From<Unauthorized> + From<InternalServerError>,
{
    verified.map_err(|error| match error {
        TokenError::Malformed | TokenError::Revoked | TokenError::WrongKind | TokenError::Expired => invalid().into(),
        TokenError::Unchecked(error) => internal(error).into(),
        TokenError::Unsigned(error) => internal(error).into(),
    })
}

fn invalid() -> Unauthorized {
    Unauthorized::because("Could not validate credentials")
}
