//! Goldens: each module is what the generator makes of the document of its name under `probes/`.

#![allow(clippy::all)]

#[rustfmt::skip]
pub mod detail;
#[rustfmt::skip]
pub mod kitchen;
#[rustfmt::skip]
pub mod message;
#[rustfmt::skip]
pub mod parameters;
#[rustfmt::skip]
pub mod shapes;
