//! The listener: accepts connections, serves a router on each, and stops without dropping what it has begun.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

/// Time for a client to send its request line and headers. Longer than any honest client needs, short enough that idle
/// connections do not pile up.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause after a failed accept. The usual reason is that no file descriptor is left; trying on at once would only burn
/// the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Writes the base URL to a file once the server listens, for whoever started it. The file appears whole or not at all.
///
/// # Errors
/// The I/O error when the file cannot be written.
pub fn write_ready_file(path: &Path, address: SocketAddr, prefix: &str) -> std::io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    std::fs::write(&draft, format!("{}\n", base_url(address, prefix)))?;
    std::fs::rename(&draft, path)
}

/// The URL under which a listener on this machine is reached.
#[must_use]
pub fn base_url(address: SocketAddr, prefix: &str) -> String {
    let host = match address {
        // "All addresses" is no address to connect to.
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    };
    format!("http://{host}:{}{prefix}", address.port())
}

/// Serves until `stop` resolves, then takes no new connection and gives requests in progress up to `grace` to end.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>, grace: Duration) {
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    tokio::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        // Answers are small and whole; waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // A client that hangs up is its own affair.
                tracing::debug!(%error, "connection ended early");
            }
        });
    }
    drop(listener);
    tracing::info!("stopping: finishing requests in progress");
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = grace.as_secs(), "requests in progress were cut off");
    }
}

/// Resolves when the process is asked to end: SIGINT or SIGTERM.
pub async fn asked_to_stop() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    async fn begin(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream
    }

    #[tokio::test]
    async fn what_has_begun_is_finished_before_the_server_stops() {
        let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
        let handler = async move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
            begun.send(()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            peer.ip().to_string()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = oneshot::channel::<()>();
        let stopping = async move { drop(stopping.await) };
        let router = Router::new().route("/", get(handler));
        let server = tokio::spawn(serve(listener, router, stopping, Duration::from_secs(10)));
        let mut stream = begin(address).await;
        has_begun.recv().await.unwrap();
        stop.send(()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"), "{answer}");
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_end_is_cut_off() {
        let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
        let handler = async move || {
            begun.send(()).await.unwrap();
            std::future::pending::<()>().await;
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = oneshot::channel::<()>();
        let stopping = async move { drop(stopping.await) };
        let router = Router::new().route("/", get(handler));
        let server = tokio::spawn(serve(listener, router, stopping, Duration::from_millis(50)));
        let _stream = begin(address).await;
        has_begun.recv().await.unwrap();
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
    }

    #[test]
    fn base_urls_can_be_connected_to() {
        assert_eq!(base_url((Ipv4Addr::UNSPECIFIED, 80).into(), "/api"), "http://127.0.0.1:80/api");
        assert_eq!(base_url((Ipv6Addr::UNSPECIFIED, 80).into(), ""), "http://[::1]:80");
        assert_eq!(base_url((Ipv4Addr::new(192, 0, 2, 1), 80).into(), ""), "http://192.0.2.1:80");
    }
}
