//! The workspace's own commands, as a library, so that tests need no process.

pub mod bench;
pub mod corpus;
pub mod deployment;
pub mod generate;
pub mod lint;
pub mod verify;
