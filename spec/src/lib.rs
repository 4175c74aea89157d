//! trueline-spec: the contracts, the vocabulary they are written in, and the one model that reads them.

pub mod contract;
pub mod document;
pub mod schema;
pub mod vocabulary;

pub use contract::Contract;
