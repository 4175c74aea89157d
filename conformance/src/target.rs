//! Where requests go: a deployment over HTTP, or a tower service in this process.

mod connect;
mod fetch;
mod http;
mod in_process;

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use self::connect::{Connection, HttpVersion};
pub use self::fetch::fetch;
pub use self::http::{HttpOptions, HttpTarget};
pub use self::in_process::{InProcessTarget, PeerAddress};
use crate::exchange::{Failure, Request, Response};

/// Something that answers requests.
pub trait Target: Send + Sync {
    /// Sends one request and reads the whole answer, within the target's own limits of time and size.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>>;

    /// Now, in milliseconds since 1970, on the clock that the service goes by.
    fn now_ms(&self) -> i64;

    /// Moves the service's clock forward, if it can be moved. False: it cannot, and time has to pass by itself.
    fn advance(&self, by: Duration) -> bool;

    /// Whether [`Target::advance`] works.
    fn has_virtual_clock(&self) -> bool;

    /// The base URL, for curl lines.
    fn base_url(&self) -> &str;

    /// Writes bytes on a connection of their own and reads what comes back until it is closed or patience ends. None:
    /// there are no connections here.
    fn wire(&self, _wire: Wire) -> Option<BoxFuture<'_, Result<Bytes, Failure>>> {
        None
    }

    /// Whether [`Target::wire`] works.
    fn has_wire(&self) -> bool {
        false
    }
}

/// Bytes for a connection of their own.
#[derive(Debug, Clone)]
pub struct Wire {
    /// One after the other.
    pub pieces: Vec<Piece>,
    /// How long to wait for an answer after the last piece.
    pub patience: Duration,
}

/// Bytes, and how long to wait before they are written.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The bytes.
    pub bytes: Bytes,
    /// The pause before them.
    pub pause: Duration,
}
