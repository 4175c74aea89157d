//! A deployment over HTTP: a pooled connection per client address, limits of time and size on every answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, PROXY_AUTHORIZATION};
use http::{HeaderValue, Uri};
use http_body_util::{BodyExt, Full};

use super::connect::{Clients, Connection, Pair, Proxy};
use super::{Target, Wire};
use crate::exchange::{CUT, Failure, MAX_BODY_BYTES, Request, Response, STREAM_BYTES, STREAM_TIME};

/// After a cut connection, so many milliseconds long every request has a connection of its own.
const WARY_MS: i64 = 2_000;

/// How to reach a deployment.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Scheme, authority and the path that every operation's path is appended to.
    pub base_url: String,
    /// The time for one whole exchange.
    pub timeout: Duration,
    /// Local addresses to send from, where the service counts by address.
    pub addresses: Vec<IpAddr>,
    /// How connections are made.
    pub connection: Connection,
}

/// A deployment over HTTP.
#[derive(Debug)]
pub struct HttpTarget {
    base_url: String,
    origin: String,
    base_path: String,
    timeout: Duration,
    proxy: Option<Proxy>,
    default: Pair,
    by_address: HashMap<IpAddr, Pair>,
    /// Until then, in milliseconds since 1970, no connection is used twice.
    wary_until: AtomicI64,
}

impl HttpTarget {
    /// Checks the base URL; does not connect.
    pub fn new(options: HttpOptions) -> Result<Self, String> {
        let HttpOptions { base_url, timeout, addresses, connection } = options;
        let uri: Uri = base_url.parse().map_err(|error| format!("the base URL `{base_url}` is not a URL: {error}"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!(
                "the base URL `{base_url}` needs a scheme and a host, such as https://api.example.com/v1"
            ));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(format!("the base URL `{base_url}` must start with http:// or https://"));
        }
        if uri.query().is_some() {
            return Err(format!("the base URL `{base_url}` must not have a query"));
        }
        let clients = Clients::new(&connection).map_err(|why| format!("the profile's `connection`: {why}"))?;
        Ok(HttpTarget {
            proxy: clients.proxy(&uri),
            origin: format!("{scheme}://{authority}"),
            base_path: uri.path().trim_end_matches('/').to_owned(),
            default: clients.pair(None),
            wary_until: AtomicI64::new(0),
            by_address: addresses.into_iter().map(|address| (address, clients.pair(Some(address)))).collect(),
            base_url,
            timeout,
        })
    }

    async fn exchange(&self, request: Request) -> Result<Response, Failure> {
        let started = Instant::now();
        let pair = request.from.and_then(|address| self.by_address.get(&address)).unwrap_or(&self.default);
        let wary = self.now_ms() < self.wary_until.load(Ordering::Relaxed);
        let client = if wary { &pair.fresh } else { &pair.pooled };
        let uri = format!("{}{}{}", self.origin, self.base_path, request.path);
        let uri: Uri = uri.parse().map_err(|error| Failure::Protocol(format!("cannot ask for `{uri}`: {error}")))?;
        let mut message = http::Request::new(Full::new(request.body));
        *message.method_mut() = request.method;
        *message.uri_mut() = uri;
        for (name, value) in request.headers {
            message.headers_mut().append(name, value);
        }
        if let Some(authorization) = self.proxy.as_ref().and_then(|proxy| proxy.authorization.clone()) {
            message.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
        }
        let response = client.request(message).await.map_err(classify).inspect_err(|failure| {
            // A service may close a connection that it has kept, just as the next request is on its way (RFC 9112 section
            // 9.3.1). What cuts a connection of its own as well, when it is tried again, is no such accident.
            if matches!(failure, Failure::Cut(_)) {
                self.wary_until.store(self.now_ms() + WARY_MS, Ordering::Relaxed);
            }
        })?;
        let (mut parts, mut body) = response.into_parts();
        parts.headers.remove(CUT);
        let mut bytes = BytesMut::new();
        // Events may come for ever; everything else has an end, or runs into the timeout.
        let streams =
            parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let enough = tokio::time::Instant::now() + STREAM_TIME.min(self.timeout / 2);
        loop {
            let frame = if streams {
                match tokio::time::timeout_at(enough, body.frame()).await {
                    Ok(frame) if bytes.len() < STREAM_BYTES => frame,
                    _ => {
                        parts.headers.insert(CUT, HeaderValue::from_static("1"));
                        break;
                    }
                }
            } else {
                body.frame().await
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| Failure::Cut(root_cause(&error)))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > MAX_BODY_BYTES {
                    return Err(Failure::TooLarge);
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: bytes.freeze(),
            elapsed: started.elapsed(),
            at_ms: self.now_ms(),
        })
    }
}

impl Target for HttpTarget {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        Box::pin(async move {
            match tokio::time::timeout(self.timeout, self.exchange(request)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::Timeout(self.timeout)),
            }
        })
    }

    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    fn advance(&self, _by: Duration) -> bool {
        false
    }

    fn has_virtual_clock(&self) -> bool {
        false
    }

    fn base_url(&self) -> &str {
        &self.base_url
    }

    fn wire(&self, wire: Wire) -> Option<BoxFuture<'_, Result<Bytes, Failure>>> {
        if !self.has_wire() {
            return None;
        }
        let authority = self.origin.strip_prefix("http://")?;
        let address = if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        Some(Box::pin(on_a_connection(address, wire)))
    }

    fn has_wire(&self) -> bool {
        // A proxy reads a connection in its own way.
        self.origin.starts_with("http://") && self.proxy.is_none()
    }
}

async fn on_a_connection(address: String, wire: Wire) -> Result<Bytes, Failure> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let connect = tokio::time::timeout(Duration::from_secs(10), tokio::net::TcpStream::connect(&address));
    let stream = connect.await.map_err(|_| Failure::Timeout(Duration::from_secs(10)))?;
    let mut stream = stream.map_err(|error| Failure::Unreachable(error.to_string()))?;
    for piece in wire.pieces {
        tokio::time::sleep(piece.pause).await;
        // A peer that has heard enough closes before all is written; what it said is still to be read.
        if stream.write_all(&piece.bytes).await.is_err() {
            break;
        }
    }
    let mut answer = BytesMut::new();
    let _ = tokio::time::timeout(wire.patience, async {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            answer.extend_from_slice(&chunk[..count]);
            if answer.len() > MAX_BODY_BYTES {
                break;
            }
        }
    })
    .await;
    Ok(answer.freeze())
}

fn classify(error: hyper_util::client::legacy::Error) -> Failure {
    if error.is_connect() {
        return Failure::Unreachable(root_cause(&error));
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = source {
        if let Some(hyper) = current.downcast_ref::<hyper::Error>()
            && (hyper.is_parse() || hyper.is_parse_status())
        {
            return Failure::Protocol(root_cause(&error));
        }
        source = current.source();
    }
    Failure::Cut(root_cause(&error))
}

/// The innermost error says what happened; the outer ones only say that something did.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}
