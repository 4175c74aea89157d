//! What every service shares: time, storage, credentials, limits, search, ingestion, the model provider, configuration
//! and the listener. Nothing here knows a contract.

pub mod clock;
pub mod config;
pub mod http;
pub mod ingest;
pub mod issuer;
pub mod jobs;
pub mod limiter;
pub mod model;
pub mod outbound;
pub mod profile;
pub mod search;
pub mod serve;
pub mod store;
pub mod tokens;
