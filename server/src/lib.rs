//! The reference services: real implementations of the contracts' traits, and the platform that they share.

pub mod foilengine;
pub mod platform;
pub mod ragchats;
pub mod registry;
pub mod smartsbio;
pub mod xentree;
