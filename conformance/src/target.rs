//! Where requests go: a deployment over HTTP, or a tower service in this process.

mod fetch;
mod http;
mod in_process;

use std::time::Duration;

use futures::future::BoxFuture;

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
}
