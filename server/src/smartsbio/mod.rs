//! SmartsBio: an agent, tools, pipelines and files for bioinformatics. One file for each section of the documentation,
//! with what it does and the trait that it fills.

mod access;
mod agent;
mod api_keys;
mod conversations;
pub mod demo;
mod files;
mod gate;
mod glyphs;
mod pipelines;
mod plot;
mod profile;
mod query;
mod sequence;
mod storage;
mod tools;
mod viewer;
mod visualizations;
mod workspaces;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract_smartsbio::operations::CONTRACT;
use contract_smartsbio::server::Services;
use contract_smartsbio::types::PipelineRunStatus;
use futures::future::BoxFuture;
use thiserror::Error;

use self::access::KeyCache;
pub use self::access::{Key, Principal};
use self::storage::{Blobs, Signer, StorageError};
use crate::platform::clock::Clock;
use crate::platform::config::{Config, ConfigError, Provider, nearest};
use crate::platform::jobs::{Handler, Job, Queue, Workers};
use crate::platform::limiter::Limiter;
use crate::platform::model::{Embedded, ModelProvider, OpenAi, OpenAiSettings};
use crate::platform::store::{Step, Store, StoreError};
use crate::platform::tokens::{CredentialError, Lifetimes, Secret, Sessions, random};

/// Schema of this service.
pub const STEPS: &[Step] = &[Step {
    version: 1_001,
    name: "smartsbio tables",
    sql: include_str!("../../migrations/smartsbio/0001_tables.sql"),
}];

/// How long somebody stays signed in to the web pages: a month, as is usual where nothing is said.
const LIFETIMES: Lifetimes =
    Lifetimes { access: Duration::from_secs(30 * 24 * 3_600), refresh: Duration::from_secs(30 * 24 * 3_600) };

/// Where presigned URLs lead to until it is known where the server listens.
const NOWHERE: &str = "http://localhost";

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
    /// There is no place for files.
    #[error("cannot use the folder for files")]
    Files(#[from] std::io::Error),
}

/// The service, ready to answer. Clones share everything.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    secret: Secret,
    sessions: Sessions,
    keys: KeyCache,
    provider: Arc<dyn ModelProvider>,
    blobs: Blobs,
    signer: Signer,
    base_url: OnceLock<String>,
    queue: Queue,
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
    provider: Arc<dyn ModelProvider>,
    files: Option<PathBuf>,
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
            provider: Arc::new(Embedded),
            files: None,
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
        self.database = config.database_url("smartsbio")?;
        self.secret = Some(config.jwt_secret(&self.database)?);
        self.limits = config.limits.clone();
        // Files go with the database: one that is forgotten takes them along.
        if !self.database.contains(":memory:") {
            self.files = Some(config.data_dir.join("smartsbio-files"));
        }
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

    /// The secret that sessions and URLs are signed with; a fresh one by default.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Who puts answers into words.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn ModelProvider>) -> Self {
        self.provider = provider;
        self
    }

    /// The folder for the bytes of files; by default one that goes with the service.
    #[must_use]
    pub fn files(mut self, folder: impl Into<PathBuf>) -> Self {
        self.files = Some(folder.into());
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
        check_limits(&self.limits)?;
        let store = Store::open(&self.database, STEPS).await?;
        let secret = match self.secret {
            Some(secret) => secret,
            None => Secret::new(URL_SAFE_NO_PAD.encode(random::<48>()?)),
        };
        Ok(Service(Arc::new(Inner {
            sessions: Sessions::new(store.clone(), self.clock.clone(), &secret, LIFETIMES),
            keys: KeyCache::default(),
            provider: self.provider,
            blobs: Blobs::open(self.files)?,
            signer: Signer::new(&secret),
            base_url: OnceLock::new(),
            queue: Queue::new(store.clone(), self.clock.clone()),
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

    /// Says where the server is reached, for the URLs that it gives out. Said once; what is said later is not heard.
    pub fn reached_at(&self, base_url: impl Into<String>) {
        let _ = self.0.base_url.set(base_url.into());
    }

    fn base_url(&self) -> &str {
        self.0.base_url.get().map_or(NOWHERE, String::as_str)
    }

    /// Starts the workers that do runs and pictures, after cleaning up what a crash has left among the files.
    ///
    /// # Errors
    /// [`StoreError`] when the queue cannot be read.
    pub async fn start_workers(&self) -> Result<Workers, StoreError> {
        if let Err(error) = self.sweep_files().await {
            match error {
                StorageError::Store(error) => return Err(error),
                StorageError::Disk(error) => tracing::warn!(%error, "the folder for files could not be cleaned up"),
            }
        }
        self.0.queue.start(Arc::new(Worker(self.clone()))).await
    }

    /// Does, here and now, every run and picture that is due; for tests without workers.
    ///
    /// # Errors
    /// [`StoreError`] when the queue cannot be read.
    pub async fn run_due_jobs(&self) -> Result<(), StoreError> {
        self.0.queue.run_due(&Worker(self.clone())).await
    }

    /// Everything that the contract promises, and what presigned URLs lead to, as a router. Lay
    /// [`crate::platform::http::observe`] around it for request ids, the access log and callers' addresses.
    pub fn router(&self) -> axum::Router {
        let service = Arc::new(self.clone());
        self.storage_router().merge(contract_smartsbio::server::router(Arc::clone(&service), Services::all(service)))
    }

    /// The database underneath, to look into or to close.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }
}

/// Does runs and pictures.
struct Worker(Service);

impl Handler for Worker {
    fn run<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match job.kind.as_str() {
                pipelines::RUN => self.0.do_run(job).await,
                visualizations::RENDER => self.0.do_render(job).await,
                other => Err(StoreError::Corrupt(format!("a job of the kind {other:?}"))),
            }
        })
    }

    fn abandon<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), StoreError>> {
        let why = "The work was interrupted several times.".to_owned();
        Box::pin(async move {
            match job.kind.as_str() {
                pipelines::RUN => self.0.end_run(&job.subject, PipelineRunStatus::Failed, Some(why), Vec::new()).await,
                _ => self.0.end_render(&job.subject, Err(why)).await,
            }
        })
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
