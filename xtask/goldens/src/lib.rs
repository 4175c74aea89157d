//! Goldens: each module is what the generator makes of the document of its name under `probes/`.

#![allow(clippy::all)]

#[rustfmt::skip]
pub mod kitchen;
