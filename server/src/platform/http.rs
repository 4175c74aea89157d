//! What every request gets whatever contract it belongs to: an id, a line in the log, and the address it came from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use trueline_runtime::router::Handled;
use uuid::Uuid;

/// The header that carries a request's id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken over from a caller.
const MAX_REQUEST_ID: usize = 128;

/// Characters of a path that are logged. Every path of a contract is shorter; a caller's invention may be 64 KiB.
const MAX_LOGGED_PATH: usize = 256;

/// Where a request came from, after trusted proxies. A request extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The address under which this caller's requests are counted: for IPv6 the first of its /64 network, because that
    /// is what one subscriber gets, with 2⁶⁴ addresses to pick from.
    #[must_use]
    pub fn counted(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        }
    }
}

/// Where a gate leaves the caller's name for the log: a request extension. A user's or a key's id, never the credential.
#[derive(Clone, Debug, Default)]
pub struct CallerName(Arc<OnceLock<String>>);

impl CallerName {
    /// Leaves the name; the first one stays.
    pub fn set(&self, name: impl Into<String>) {
        let _ = self.0.set(name.into());
    }
}

/// Puts the common parts around a service's router.
pub fn observe(router: Router, trusted_proxies: Vec<IpNet>) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::<[IpNet]>::from(trusted_proxies), around))
}

async fn around(State(trusted): State<Arc<[IpNet]>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    // Put into the request, so that everything inside finds the same id there.
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    // In process there is no peer; such callers share one address.
    let peer = peer.unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let client = ClientAddress(client_address(peer, request.headers(), &trusted));
    let caller = CallerName::default();
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(caller.clone());
    let method = request.method().clone();
    // A path names resources by their ids and holds no secret; a query string may, so it is not logged.
    let path: String = request.uri().path().chars().take(MAX_LOGGED_PATH).collect();

    let mut response = next.run(request).await;

    let operation = response.extensions().get::<Handled>().and_then(|handled| handled.operation);
    tracing::info!(
        request_id = id.to_str().unwrap_or_default(),
        %method,
        path,
        operation = operation.map_or("-", |operation| operation.id),
        status = response.status().as_u16(),
        latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        caller = caller.0.get().map_or("-", String::as_str),
        client = %client.0,
        "answered"
    );
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The caller's own id when it is one that can stand in a log as it is, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= MAX_REQUEST_ID
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    headers.get(REQUEST_ID).filter(usable).cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::new_v4().to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    })
}

/// The peer, or what it says it speaks for when it is a trusted proxy: the last address in `X-Forwarded-For` that is
/// not a trusted proxy itself. Addresses further left were written by the caller and prove nothing.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    let mut client = peer;
    let hops: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    for hop in hops.into_iter().rev() {
        if !is_trusted(client) {
            break;
        }
        match hop.parse() {
            Ok(address) => client = address,
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", value.parse().unwrap());
            headers
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (peer, forwarded, client) in [
            ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
            ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.2.2.2", "198.51.100.7"),
            ("10.0.0.1", "nonsense", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
            ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ] {
            assert_eq!(client_address(ip(peer), &headers(forwarded), &trusted), ip(client), "{peer} {forwarded}");
        }
        assert_eq!(client_address(ip("10.0.0.1"), &HeaderMap::new(), &trusted), ip("10.0.0.1"));
    }

    #[test]
    fn callers_are_counted_by_what_they_cannot_change_at_will() {
        let key = |text: &str| ClientAddress(text.parse().unwrap()).counted();
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    }

    #[test]
    fn request_ids_are_taken_over_only_when_harmless() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, value.parse().unwrap());
            request_id(&headers)
        };
        assert_eq!(id("abc-123_x.y"), "abc-123_x.y");
        for bad in ["", "a b", "a\"b", "é", &"x".repeat(129)] {
            assert_ne!(id(bad), bad);
        }
        assert_eq!(request_id(&HeaderMap::new()).len(), 36);
    }
}
