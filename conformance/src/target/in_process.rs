//! A tower service in this process, with a clock that can be moved: hour-long windows take microseconds.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use tower::util::{BoxCloneSyncService, ServiceExt};
use tower::{Service, service_fn};

use super::Target;
use crate::exchange::{Failure, MAX_BODY_BYTES, Request, Response};

/// The caller's address, as a request extension: what a listener would know of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

type Boxed =
    BoxCloneSyncService<http::Request<Full<Bytes>>, Result<(http::response::Parts, Bytes), Failure>, Infallible>;
type Advance = Arc<dyn Fn(Duration) + Send + Sync>;
type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A tower service in this process.
#[derive(Clone)]
pub struct InProcessTarget {
    service: Boxed,
    now: Now,
    advance: Option<Advance>,
}

impl InProcessTarget {
    /// Wraps any HTTP service, such as an `axum::Router`. The service sees the caller's address as a [`PeerAddress`]
    /// extension; its clock is the machine's until [`InProcessTarget::with_clock`] says otherwise.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<http::Request<Full<Bytes>>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Error: std::fmt::Display + Send,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let service = service_fn(move |request: http::Request<Full<Bytes>>| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(answer(service, request).await) }
        });
        InProcessTarget {
            service: BoxCloneSyncService::new(service),
            now: Arc::new(|| chrono::Utc::now().timestamp_millis()),
            advance: None,
        }
    }

    /// Goes by the service's own clock, which `advance` moves forward.
    pub fn with_clock(
        mut self,
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
        advance: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Self {
        self.now = Arc::new(now_ms);
        self.advance = Some(Arc::new(advance));
        self
    }
}

async fn answer<S, B>(
    service: S,
    request: http::Request<Full<Bytes>>,
) -> Result<(http::response::Parts, Bytes), Failure>
where
    S: Service<http::Request<Full<Bytes>>, Response = http::Response<B>>,
    S::Error: std::fmt::Display,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let response = service.oneshot(request).await.map_err(|error| Failure::Cut(error.to_string()))?;
    let (parts, body) = response.into_parts();
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Cut(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > MAX_BODY_BYTES {
                return Err(Failure::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok((parts, bytes.freeze()))
}

impl Target for InProcessTarget {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        Box::pin(async move {
            let started = Instant::now();
            let mut message = http::Request::new(Full::new(request.body));
            *message.method_mut() = request.method;
            *message.uri_mut() =
                request.path.parse().map_err(|error| Failure::Protocol(format!("`{}`: {error}", request.path)))?;
            for (name, value) in request.headers {
                message.headers_mut().append(name, value);
            }
            let peer = request.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            message.extensions_mut().insert(PeerAddress(peer));
            let Ok(outcome) = self.service.clone().oneshot(message).await;
            let (parts, body) = outcome?;
            Ok(Response {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body,
                elapsed: started.elapsed(),
                at_ms: self.now_ms(),
            })
        })
    }

    fn now_ms(&self) -> i64 {
        (self.now)()
    }

    fn advance(&self, by: Duration) -> bool {
        self.advance.as_ref().is_some_and(|advance| {
            advance(by);
            true
        })
    }

    fn has_virtual_clock(&self) -> bool {
        self.advance.is_some()
    }

    fn base_url(&self) -> &str {
        "http://in-process"
    }
}
