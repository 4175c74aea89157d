//! Foil Engine: conversations with characters of games. One file for each section of the documentation, with what it does
//! and the trait that it fills; `definition`, `engine`, `pipeline` and `conversation` are what the sections share.

mod access;
mod admin;
mod api_keys;
mod authentication;
mod chat;
mod conversation;
mod creator;
mod definition;
pub mod demo;
mod engine;
mod gate;
mod personas;
mod pipeline;
mod profile;
mod sdk_chat;
mod sdk_personas;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract_foilengine::operations::CONTRACT;
use contract_foilengine::server::Services;
use thiserror::Error;

pub use self::access::{Principal, User};
use crate::platform::clock::Clock;
use crate::platform::config::{Config, ConfigError, Provider as ModelKind, check_limits};
use crate::platform::issuer::{Demands, LOCAL_ISSUER, LocalIssuer, Provider, Verifier};
use crate::platform::limiter::Limiter;
use crate::platform::model::{EmbeddedWithKeys, LocalKeys, ModelProvider, OpenAi, OpenAiSettings};
use crate::platform::store::{Step, Store, StoreError};
use crate::platform::tokens::{CredentialError, Secret, random};

/// Schema of this service.
pub const STEPS: &[Step] = &[Step {
    version: 2_001,
    name: "foilengine tables",
    sql: include_str!("../../migrations/foilengine/0001_tables.sql"),
}];

/// Why a service could not be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The database cannot be used.
    #[error("cannot open the database")]
    Store(#[from] StoreError),
    /// The settings contradict each other or name something unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Credentials cannot be handled.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

/// The service, ready to answer. Clones share everything.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    secret: Secret,
    verifier: Verifier,
    provider: Arc<dyn ModelProvider>,
    turns: conversation::Turns,
    limiter: Limiter,
    limits: BTreeMap<String, u64>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("store", &self.0.store).finish_non_exhaustive()
    }
}

/// What a service is made of. Every part has a default that suits a test; [`Builder::configure`] takes a server's settings.
pub struct Builder {
    database: String,
    clock: Clock,
    secret: Option<Secret>,
    identity: Option<(String, Demands)>,
    provider: Option<Arc<dyn ModelProvider>>,
    limits: BTreeMap<String, u64>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            database: "sqlite::memory:".to_owned(),
            clock: Clock::system(),
            secret: None,
            identity: None,
            provider: None,
            limits: BTreeMap::new(),
        }
    }
}

impl Builder {
    /// Takes over a server's settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a file that they name cannot be used.
    pub fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        self.database = config.database_url("foilengine")?;
        self.secret = Some(config.jwt_secret(&self.database)?);
        self.limits = config.limits.clone();
        if let Some(url) = &config.auth.jwks_url {
            let demands = Demands { issuer: config.auth.issuer.clone(), audience: config.auth.audience.clone() };
            self.identity = Some((url.clone(), demands));
        }
        if config.model.provider == ModelKind::Openai {
            self.provider = Some(Arc::new(OpenAi::new(OpenAiSettings {
                base_url: config.model.base_url.clone().unwrap_or_default(),
                key: config.model_key()?,
                model: config.model.name.clone(),
                timeout: config.model_timeout(),
            })));
        }
        Ok(self)
    }

    /// The database; one in memory by default.
    #[must_use]
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.database = url.into();
        self
    }

    /// The clock that everything but durations is read from.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The secret that the local issuer's and the embedded model's keys are computed from; a fresh one by default.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// The identity provider whose tokens are taken, by the address of its keys; the local issuer by default.
    #[must_use]
    pub fn identity(mut self, jwks_url: impl Into<String>, demands: Demands) -> Self {
        self.identity = Some((jwks_url.into(), demands));
        self
    }

    /// Who judges messages and speaks for characters; the embedded model by default.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn ModelProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Requests a window by rate class, in place of the contract's figures.
    #[must_use]
    pub fn limits(mut self, limits: impl IntoIterator<Item = (String, u64)>) -> Self {
        self.limits.extend(limits);
        self
    }

    /// Opens the database and puts the service together.
    ///
    /// # Errors
    /// [`BuildError`] says what is not usable.
    pub async fn build(self) -> Result<Service, BuildError> {
        check_limits(&self.limits, &CONTRACT)?;
        let store = Store::open(&self.database, STEPS).await?;
        let secret = match self.secret {
            Some(secret) => secret,
            None => Secret::new(URL_SAFE_NO_PAD.encode(random::<48>()?)),
        };
        let (identity, demands) = match self.identity {
            Some((url, demands)) => (Provider::Published { url }, demands),
            None => {
                let demands = Demands { issuer: Some(LOCAL_ISSUER.to_owned()), audience: None };
                (Provider::Local(Box::new(LocalIssuer::new(&secret)?)), demands)
            }
        };
        let embedded = || Arc::new(EmbeddedWithKeys(LocalKeys::new(secret.clone()))) as Arc<dyn ModelProvider>;
        Ok(Service(Arc::new(Inner {
            verifier: Verifier::new(identity, demands, self.clock.clone()),
            provider: self.provider.unwrap_or_else(embedded),
            turns: conversation::Turns::default(),
            limiter: Limiter::new(self.clock.clone()),
            limits: self.limits,
            store,
            clock: self.clock,
            secret,
        })))
    }
}

impl Service {
    /// Begins to put a service together.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Everything that the contract promises, as a router. Lay [`crate::platform::http::observe`] around it for request
    /// ids, the access log and callers' addresses.
    pub fn router(&self) -> axum::Router {
        let service = Arc::new(self.clone());
        contract_foilengine::server::router(Arc::clone(&service), Services::all(service))
    }

    /// The identity provider of our own, if its tokens are the ones that are taken.
    #[must_use]
    pub fn issuer(&self) -> Option<&LocalIssuer> {
        self.0.verifier.local()
    }

    /// The database underneath, to look into or to close.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }
}
