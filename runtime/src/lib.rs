//! trueline-runtime: what generated servers and clients lean on.
//!
//! Generated code is data and glue; whatever can be written once is written here. Nothing in this crate knows a
//! contract by name: it reads the constant tables ([`contract::Contract`], [`contract::Operation`]) that
//! `cargo xtask generate` writes.
//!
//! Where to start: [`gate::Gate`] is what a service implements by hand, `router::router` is what serves it,
//! [`problem::Problem`] is how it fails, and [`client`] is the other end of the wire.

pub mod contract;
pub mod envelope;
pub mod multipart;
pub mod problem;
pub mod value;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod decode;
#[cfg(feature = "server")]
pub mod exchange;
#[cfg(test)]
mod fixture;
#[cfg(feature = "server")]
pub mod gate;
#[cfg(feature = "server")]
pub mod json;
#[cfg(feature = "server")]
pub mod reject;
#[cfg(feature = "server")]
pub mod reply;
#[cfg(feature = "server")]
pub mod router;
#[cfg(feature = "server")]
pub mod schemas;
pub mod sse;

pub use problem::{FieldError, NoDetails, Problem};
pub use value::{HeaderText, Patch, Timestamp};

/// What generated code names, so that its manifest stays short. Not a promise: write your own dependencies by hand.
#[doc(hidden)]
pub mod rt {
    #[cfg(feature = "server")]
    pub use axum;
    pub use bytes;
    pub use chrono;
    pub use futures;
    pub use http;
    pub use serde_json;
    pub use uuid;
    #[cfg(feature = "client")]
    pub use {progenitor_client, reqwest};
}
