//! trueline-spec: the contracts, the vocabulary they are written in, and the one model that reads them.

pub mod contract;
pub mod contracts;
pub mod document;
pub mod expression;
pub mod lint;
mod overlay;
pub mod problem;
mod read;
pub mod schema;
mod syntax;
pub mod vocabulary;

pub use contract::Contract;
pub use problem::{Problem, Problems};
