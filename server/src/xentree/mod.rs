//! Xentree: guided learning with an AI tutor. One file for each section of the documentation, with what it does and the
//! trait that it fills.

mod access;
mod api_keys;
mod authentication;
mod content_index;
mod conversations;
mod curriculum;
pub mod demo;
mod evaluation;
mod gate;
mod health;
mod integration_tokens;
mod knowledge_base;
mod organizations;
mod profile;
mod profile_analytics;
mod progress;
mod seal;
mod signing;
mod skills_connector;
mod wire;
mod xentree_english;
mod xentree_live;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract_xentree::operations::CONTRACT;
use contract_xentree::server::Services;
use thiserror::Error;

pub use self::access::{Credential, Principal};
pub use self::skills_connector::OAuthClient;
use crate::platform::clock::Clock;
use crate::platform::config::{Config, ConfigError, Provider, nearest};
use crate::platform::ingest::{Extractor, PdfReader};
use crate::platform::jobs::{Queue, Workers};
use crate::platform::limiter::Limiter;
use crate::platform::model::{Embedded, ModelProvider, OpenAi, OpenAiSettings};
use crate::platform::outbound::Outbound;
use crate::platform::store::{Step, Store, StoreError};
use crate::platform::tokens::{CredentialError, Lifetimes, PasswordCost, Passwords, Secret, Sessions, random};

/// Schema of this service.
pub const STEPS: &[Step] = &[
    Step { version: 2_001, name: "xentree accounts", sql: include_str!("../../migrations/xentree/0001_accounts.sql") },
    Step {
        version: 2_101,
        name: "xentree conversations",
        sql: include_str!("../../migrations/xentree/0101_conversations.sql"),
    },
    Step {
        version: 2_102,
        name: "xentree knowledge base",
        sql: include_str!("../../migrations/xentree/0102_knowledge_base.sql"),
    },
    Step { version: 2_103, name: "xentree live", sql: include_str!("../../migrations/xentree/0103_live.sql") },
    Step { version: 2_104, name: "xentree english", sql: include_str!("../../migrations/xentree/0104_english.sql") },
    Step { version: 2_105, name: "xentree progress", sql: include_str!("../../migrations/xentree/0105_progress.sql") },
];

/// An hour and thirty days.
const LIFETIMES: Lifetimes =
    Lifetimes { access: Duration::from_secs(3_600), refresh: Duration::from_secs(30 * 24 * 3_600) };

/// How long a tenant's signing key is used for new tokens.
const KEY_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Seconds of Live a month by plan, where the operator says nothing else.
const LIVE_ALLOWANCES: [(&str, u64); 2] = [("free", 1_800), ("pro", 36_000)];

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
    seal: seal::Seal,
    passwords: Passwords,
    sessions: Sessions,
    provider: Arc<dyn ModelProvider>,
    extractor: Extractor,
    outbound: Outbound,
    queue: Queue,
    limiter: Limiter,
    limits: BTreeMap<String, u64>,
    live_allowances: BTreeMap<String, u64>,
    key_lifetime: Duration,
    google_calendar: Option<OAuthClient>,
    started_ms: i64,
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
    limits: BTreeMap<String, u64>,
    live_allowances: BTreeMap<String, u64>,
    key_lifetime: Duration,
    google_calendar: Option<OAuthClient>,
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
            limits: BTreeMap::new(),
            live_allowances: LIVE_ALLOWANCES.map(|(plan, seconds)| (plan.to_owned(), seconds)).into(),
            key_lifetime: KEY_LIFETIME,
            google_calendar: Some(skills_connector::google_calendar(&Config::default())),
        }
    }
}

impl Builder {
    /// Takes over a server's settings.
    ///
    /// # Errors
    /// [`ConfigError`] when a file that they name cannot be used.
    pub fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        self.database = config.database_url("xentree")?;
        self.secret = Some(config.jwt_secret(&self.database)?);
        self.password_cost = config.auth.password;
        self.pdf_timeout = Duration::from_secs(config.ingest.pdf_timeout_seconds);
        self.limits = config.limits.clone();
        self.google_calendar = Some(skills_connector::google_calendar(config));
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

    /// The secret that tokens are signed with, and stored secrets are sealed with; a fresh one by default.
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

    /// Requests a window by rate class, in place of the contract's figures.
    #[must_use]
    pub fn limits(mut self, limits: impl IntoIterator<Item = (String, u64)>) -> Self {
        self.limits.extend(limits);
        self
    }

    /// Seconds of Live a month by plan.
    #[must_use]
    pub fn live_allowances(mut self, allowances: impl IntoIterator<Item = (String, u64)>) -> Self {
        self.live_allowances.extend(allowances);
        self
    }

    /// How long a tenant's signing key is used for new tokens; thirty days by default.
    #[must_use]
    pub fn key_lifetime(mut self, lifetime: Duration) -> Self {
        self.key_lifetime = lifetime;
        self
    }

    /// How this service is known to the issuer that guards calendars.
    #[must_use]
    pub fn google_calendar(mut self, client: OAuthClient) -> Self {
        self.google_calendar = Some(client);
        self
    }

    /// Opens the database and puts the service together.
    ///
    /// # Errors
    /// [`BuildError`] says what is not usable.
    pub async fn build(self) -> Result<Service, BuildError> {
        check_limits(&self.limits)?;
        let store = Store::open(&self.database, STEPS).await?;
        let secret = match self.secret {
            Some(secret) => secret,
            None => Secret::new(URL_SAFE_NO_PAD.encode(random::<48>()?)),
        };
        Ok(Service(Arc::new(Inner {
            passwords: Passwords::new(self.password_cost).await?,
            sessions: Sessions::new(store.clone(), self.clock.clone(), &secret, LIFETIMES),
            seal: seal::Seal::new(&secret),
            provider: self.provider,
            extractor: Extractor::new(self.pdf_reader, self.pdf_timeout),
            queue: Queue::new(store.clone(), self.clock.clone()),
            outbound: Outbound::default(),
            limiter: Limiter::new(self.clock.clone()),
            limits: self.limits,
            live_allowances: self.live_allowances,
            key_lifetime: self.key_lifetime,
            google_calendar: self.google_calendar,
            started_ms: self.clock.now_ms(),
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

    /// Starts the workers that make the search index anew.
    ///
    /// # Errors
    /// [`StoreError`] when the queue cannot be read.
    pub async fn start_workers(&self) -> Result<Workers, StoreError> {
        self.0.queue.start(Arc::new(content_index::Reindex(self.clone()))).await
    }

    /// Does, here and now, every job that is due; for tests without workers.
    ///
    /// # Errors
    /// [`StoreError`] when the queue cannot be read.
    pub async fn run_due_jobs(&self) -> Result<(), StoreError> {
        self.0.queue.run_due(&content_index::Reindex(self.clone())).await
    }

    /// Everything that the contract promises, as a router, and the page that an issuer sends browsers back to. Lay
    /// [`crate::platform::http::observe`] around it for request ids, the access log and callers' addresses.
    pub fn router(&self) -> axum::Router {
        let service = Arc::new(self.clone());
        let promised = contract_xentree::server::router(Arc::clone(&service), Services::all(service));
        self.with_callback(promised)
    }

    /// The database underneath, to look into or to close.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }
}

/// Refuses limits for classes that the contract does not have: a mistyped name would otherwise go unnoticed.
fn check_limits(limits: &BTreeMap<String, u64>) -> Result<(), ConfigError> {
    let classes = || CONTRACT.rate_limits.iter().flat_map(|limits| limits.classes).map(|class| class.name);
    match limits.keys().find(|name| !classes().any(|class| class == name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let hint = match nearest(name, classes()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", classes().collect::<Vec<_>>().join(", ")),
            };
            Err(ConfigError::Setting(format!("limits: unknown rate class `{name}`; {hint}")))
        }
    }
}
