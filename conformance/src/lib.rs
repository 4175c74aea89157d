//! trueline-conformance: holds a deployment to its contract.
//!
//! `plan → drive → check → group → report`: a [`plan::Plan`] is made before the first request, [`run::run`] drives it
//! against a [`target::Target`], [`check`]s judge every exchange, and everything that happens comes out as one stream of
//! [`event::Event`]s, which [`report`]s consume.

pub mod case;
pub mod check;
pub mod clause;
pub mod collection;
pub mod data;
pub mod deviation;
pub mod event;
pub mod exchange;
pub mod finding;
pub mod plan;
pub mod profile;
pub mod report;
pub mod run;
#[cfg(feature = "selftest")]
pub mod selftest;
pub mod stated;
pub mod subject;
pub mod suite;
pub mod target;
