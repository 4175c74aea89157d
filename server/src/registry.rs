//! The services by name: what the program needs of each, whatever contract it keeps. A new contract is one entry here.

use std::fmt;

use axum::Router;
use futures::future::BoxFuture;
use serde::Serialize;
use trueline_runtime::contract::Contract;

use crate::platform::config::Config;
use crate::platform::ingest::PdfReader;
use crate::platform::jobs::Workers;
use crate::{foilengine, ragchats, smartsbio, xentree};

/// Whatever keeps a service from doing what it is asked.
pub type Failure = Box<dyn std::error::Error>;

/// Puts a service together as its configuration says.
pub type Build = for<'a> fn(&'a Config, PdfReader) -> BoxFuture<'a, Result<Box<dyn Service>, Failure>>;

/// A contract and its service.
pub struct Entry {
    /// One word, spelled the same everywhere.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What is promised.
    pub contract: &'static Contract,
    /// Puts the service together.
    pub build: Build,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.name).finish()
    }
}

/// Every service there is.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "foilengine",
        about: "Conversations with characters of games",
        contract: &contract_foilengine::operations::CONTRACT,
        build: |config, _| {
            Box::pin(async { Ok(Box::new(foilengine::Service::builder().configure(config)?.build().await?) as _) })
        },
    },
    Entry {
        name: "ragchats",
        about: "Chat agents that answer from connected data sources",
        contract: &contract_ragchats::operations::CONTRACT,
        build: |config, pdf_reader| {
            Box::pin(async move {
                let builder = ragchats::Service::builder().configure(config)?.pdf_reader(pdf_reader);
                Ok(Box::new(builder.build().await?) as _)
            })
        },
    },
    Entry {
        name: "smartsbio",
        about: "An agent, tools, pipelines and files for bioinformatics",
        contract: &contract_smartsbio::operations::CONTRACT,
        build: |config, _| {
            Box::pin(async { Ok(Box::new(smartsbio::Service::builder().configure(config)?.build().await?) as _) })
        },
    },
    Entry {
        name: "xentree",
        about: "Guided learning with an AI tutor",
        contract: &contract_xentree::operations::CONTRACT,
        build: |config, pdf_reader| {
            Box::pin(async move {
                let builder = xentree::Service::builder().configure(config)?.pdf_reader(pdf_reader);
                Ok(Box::new(builder.build().await?) as _)
            })
        },
    },
];

/// The entry of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// A service as the program runs it.
pub trait Service: Send + Sync {
    /// Everything that the contract promises.
    fn router(&self) -> Router;

    /// Tells a service that gives out URLs of its own under which one it is reached.
    fn reached_at(&self, _url: &str) {}

    /// Starts what runs in the background; none if nothing does.
    fn start(&self) -> BoxFuture<'_, Result<Option<Workers>, Failure>>;

    /// Sets the demonstration up, or puts it back to its start.
    fn seed(&self) -> BoxFuture<'_, Result<Demonstration, Failure>>;

    /// Closes the database.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A demonstration's users and keys, to be written down.
pub struct Demonstration {
    /// For people.
    pub toml: String,
    /// For programs.
    pub json: String,
    /// For shells: `USERS_ANA_PASSWORD='…'`, a line each.
    pub env: String,
    /// For the harness, by the base URL of the service.
    pub profile: Box<dyn Fn(&str) -> String + Send>,
}

impl fmt::Debug for Demonstration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Demonstration(..)")
    }
}

impl Demonstration {
    fn new<D>(demo: D, profile: fn(&D, &str) -> String) -> Result<Self, Failure>
    where
        D: Serialize + Send + 'static,
    {
        let mut env = String::new();
        variables("", &serde_json::to_value(&demo)?, &mut env);
        Ok(Self {
            env,
            toml: toml::to_string(&demo)?,
            json: serde_json::to_string_pretty(&demo)? + "\n",
            profile: Box::new(move |base_url| profile(&demo, base_url)),
        })
    }
}

/// A variable for every text in a value, named by the keys that lead to it.
fn variables(name: &str, value: &serde_json::Value, lines: &mut String) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, member) in members {
                let key: String =
                    key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
                variables(&if name.is_empty() { key } else { format!("{name}_{key}") }, member, lines);
            }
        }
        serde_json::Value::String(text) => {
            // POSIX shells: nothing is special between single quotes but the quote itself.
            lines.push_str(&format!("{name}='{}'\n", text.replace('\'', "'\\''")));
        }
        _ => {}
    }
}

impl Service for ragchats::Service {
    fn router(&self) -> Router {
        self.router()
    }

    fn start(&self) -> BoxFuture<'_, Result<Option<Workers>, Failure>> {
        Box::pin(async { Ok(Some(self.start_workers().await?)) })
    }

    fn seed(&self) -> BoxFuture<'_, Result<Demonstration, Failure>> {
        Box::pin(async { Demonstration::new(ragchats::demo::seed(self).await?, ragchats::demo::Demo::profile) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.store().close())
    }
}

impl Service for foilengine::Service {
    fn router(&self) -> Router {
        self.router()
    }

    fn start(&self) -> BoxFuture<'_, Result<Option<Workers>, Failure>> {
        Box::pin(async { Ok(None) })
    }

    fn seed(&self) -> BoxFuture<'_, Result<Demonstration, Failure>> {
        Box::pin(async { Demonstration::new(foilengine::demo::seed(self).await?, foilengine::demo::Demo::profile) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.store().close())
    }
}

impl Service for smartsbio::Service {
    fn router(&self) -> Router {
        self.router()
    }

    fn reached_at(&self, url: &str) {
        self.reached_at(url);
    }

    fn start(&self) -> BoxFuture<'_, Result<Option<Workers>, Failure>> {
        Box::pin(async { Ok(Some(self.start_workers().await?)) })
    }

    fn seed(&self) -> BoxFuture<'_, Result<Demonstration, Failure>> {
        Box::pin(async { Demonstration::new(smartsbio::demo::seed(self).await?, smartsbio::demo::Demo::profile) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.store().close())
    }
}

impl Service for xentree::Service {
    fn router(&self) -> Router {
        self.router()
    }

    fn start(&self) -> BoxFuture<'_, Result<Option<Workers>, Failure>> {
        Box::pin(async { Ok(Some(self.start_workers().await?)) })
    }

    fn seed(&self) -> BoxFuture<'_, Result<Demonstration, Failure>> {
        Box::pin(async { Demonstration::new(xentree::demo::seed(self).await?, xentree::demo::Demo::profile) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.store().close())
    }
}
