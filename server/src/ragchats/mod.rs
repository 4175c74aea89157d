//! RAG Chats: agents that answer from connected data sources. One file for each section of the documentation, with what
//! it does and the trait that it fills.

mod access;
mod agents;
mod analytics;
mod authentication;
mod chat;
mod data_sources;
pub mod demo;
mod gate;
mod profile;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract_ragchats::operations::CONTRACT;
use contract_ragchats::server::Services;
use thiserror::Error;

pub use self::access::{Principal, Role};
use crate::platform::clock::Clock;
use crate::platform::config::{Config, ConfigError, Provider, check_limits};
use crate::platform::ingest::{Extractor, PdfReader};
use crate::platform::jobs::{Queue, Workers};
use crate::platform::limiter::Limiter;
use crate::platform::model::{Embedded, ModelProvider, OpenAi, OpenAiSettings};
use crate::platform::outbound::{AllowedHosts, Outbound};
use crate::platform::store::{Step, Store, StoreError};
use crate::platform::tokens::{CredentialError, Lifetimes, PasswordCost, Passwords, Secret, Sessions, random};

/// Schema of this service.
pub const STEPS: &[Step] =
    &[Step { version: 1_001, name: "ragchats tables", sql: include_str!("../../migrations/ragchats/0001_tables.sql") }];

/// The documented lifetimes: an hour and a week.
const LIFETIMES: Lifetimes =
    Lifetimes { access: Duration::from_secs(3_600), refresh: Duration::from_secs(7 * 24 * 3_600) };

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
    passwords: Passwords,
    sessions: Sessions,
    provider: Arc<dyn ModelProvider>,
    extractor: Extractor,
    outbound: Outbound,
    allowed_hosts: AllowedHosts,
    queue: Queue,
    settle: Duration,
    in_progress: chat::InProgress,
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
    password_cost: PasswordCost,
    provider: Arc<dyn ModelProvider>,
    pdf_reader: PdfReader,
    pdf_timeout: Duration,
    allowed_hosts: Vec<String>,
    settle: Duration,
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
            password_cost: PasswordCost::default(),
            provider: Arc::new(Embedded),
            pdf_reader: PdfReader::Thread,
            pdf_timeout: Duration::from_secs(60),
            allowed_hosts: Vec::new(),
            settle: Duration::ZERO,
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
        self.database = config.database_url("ragchats")?;
        self.secret = Some(config.jwt_secret(&self.database)?);
        self.password_cost = config.auth.password;
        self.pdf_timeout = Duration::from_secs(config.ingest.pdf_timeout_seconds);
        self.allowed_hosts = config.ingest.allowed_hosts.clone();
        self.settle = Duration::from_millis(config.ingest.settle_ms);
        self.limits = config.limits.clone();
        if config.model.provider == Provider::Openai {
            self.provider = Arc::new(OpenAi::new(OpenAiSettings {
                base_url: config.model.base_url.clone().unwrap_or_default(),
                key: config.model_key()?,
                model: config.model.name.clone(),
                timeout: config.model_timeout(),
            }));
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

    /// The secret that tokens are signed with; a fresh one by default.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// What one password hash costs.
    #[must_use]
    pub fn password_cost(mut self, cost: PasswordCost) -> Self {
        self.password_cost = cost;
        self
    }

    /// Who answers questions.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn ModelProvider>) -> Self {
        self.provider = provider;
        self
    }

    /// Where PDFs are read.
    #[must_use]
    pub fn pdf_reader(mut self, reader: PdfReader) -> Self {
        self.pdf_reader = reader;
        self
    }

    /// Hosts that sources may be fetched from.
    #[must_use]
    pub fn allowed_hosts(mut self, hosts: Vec<String>) -> Self {
        self.allowed_hosts = hosts;
        self
    }

    /// Time between a change of a source and its processing; none by default.
    #[must_use]
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Requests a window by rate class, in place of the contract's figures.
    #[must_use]
    pub fn limits(mut self, limits: impl IntoIterator<Item = (String, u64)>) -> Self {
        self.limits.extend(limits);
        self
    }

    /// Opens the database and puts the service together. Nothing runs in the background yet; see [`Service::start_workers`].
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
        Ok(Service(Arc::new(Inner {
            passwords: Passwords::new(self.password_cost).await?,
            sessions: Sessions::new(store.clone(), self.clock.clone(), &secret, LIFETIMES),
            provider: self.provider,
            extractor: Extractor::new(self.pdf_reader, self.pdf_timeout),
            outbound: Outbound::default(),
            allowed_hosts: AllowedHosts::new(&self.allowed_hosts),
            queue: Queue::new(store.clone(), self.clock.clone()),
            settle: self.settle,
            in_progress: chat::InProgress::default(),
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

    /// Starts the workers that process data sources.
    ///
    /// # Errors
    /// [`StoreError`] when the queue cannot be read.
    pub async fn start_workers(&self) -> Result<Workers, StoreError> {
        self.0.queue.start(Arc::new(data_sources::Processor(self.clone()))).await
    }

    /// Processes, here and now, every data source that is due; for tests without workers.
    ///
    /// # Errors
    /// [`StoreError`] when the queue cannot be read.
    pub async fn run_due_jobs(&self) -> Result<(), StoreError> {
        self.0.queue.run_due(&data_sources::Processor(self.clone())).await
    }

    /// Everything that the contract promises, as a router. Lay [`crate::platform::http::observe`] around it for request
    /// ids, the access log and callers' addresses.
    pub fn router(&self) -> axum::Router {
        let service = Arc::new(self.clone());
        contract_ragchats::server::router(Arc::clone(&service), Services::all(service))
    }

    /// The database underneath, to look into or to close.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }
}
