//! Ways to a deployment: TLS with authorities of one's own, certificates of both sides, proxies, HTTP/2.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Version};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use trueline_conformance::exchange::{Failure, Request};
use trueline_conformance::target::{Connection, HttpOptions, HttpTarget, HttpVersion, Target};

fn target(base_url: &str, connection: Connection) -> Result<HttpTarget, String> {
    HttpTarget::new(HttpOptions {
        base_url: base_url.to_owned(),
        timeout: Duration::from_secs(20),
        addresses: Vec::new(),
        connection,
    })
}

/// The text of the answer to `GET /here`.
async fn ask(base_url: &str, connection: Connection) -> Result<String, Failure> {
    let request =
        Request { method: Method::GET, path: "/here".to_owned(), headers: Vec::new(), body: Bytes::new(), from: None };
    let response = target(base_url, connection).unwrap().send(request).await?;
    Ok(String::from_utf8(response.body.to_vec()).unwrap())
}

/// No proxy, whatever the environment of the test says.
fn straight() -> Connection {
    Connection { proxy: Some(String::new()), ..Connection::default() }
}

/// Answers with the version of HTTP that it was asked in.
async fn serve<S>(stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
        let version = if request.version() == Version::HTTP_2 { "2" } else { "1.1" };
        Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from(version))))
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

async fn plain() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    url
}

/// A server on `localhost` whose certificate an authority of its own has signed, written to `folder` with a certificate
/// for callers; `mutual`: those without one are turned away.
async fn with_tls(folder: &Path, mutual: bool) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap(), key)
    };
    let (caller, caller_key) = signed("caller");
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("caller.pem"), caller.pem()).unwrap();
    std::fs::write(folder.join("caller.key"), caller_key.serialize_pem()).unwrap();

    let (own, own_key) = signed("localhost");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = if mutual {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::try_from(own_key.serialize_der()).unwrap();
    let mut config = builder.with_single_cert(vec![own.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            });
        }
    });
    url
}

/// A proxy that forwards whole requests and tunnels, and keeps the heads that it has read.
async fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 0 {}
                kept.lock().unwrap().push(head.clone());
                let target = head.split(' ').nth(1).unwrap().to_owned();
                if head.starts_with("CONNECT ") {
                    let mut onward = TcpStream::connect(&target).await.unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
                } else {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nforwarded";
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    (authority, heads)
}

#[tokio::test]
async fn an_authority_is_trusted_when_the_profile_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let url = with_tls(folder.path(), false).await;
    let stranger = ask(&url, straight()).await.unwrap_err().to_string();
    assert!(stranger.contains("UnknownIssuer"), "{stranger}");
    let named = Connection { ca: Some("ca.pem".into()), ..straight() }.beside(folder.path());
    assert_eq!(ask(&url, named.clone()).await.unwrap(), "1.1");
    let two = Connection { http: HttpVersion::Two, ..named.clone() };
    assert_eq!(ask(&url, two).await.unwrap(), "2");
    // The certificate is for `localhost`.
    let other = url.replace("localhost", "127.0.0.1");
    let misnamed = ask(&other, named).await.unwrap_err().to_string();
    assert!(misnamed.contains("not valid for name"), "{misnamed}");
    let careless = Connection { insecure: true, ..straight() };
    assert_eq!(ask(&other, careless).await.unwrap(), "1.1");
}

#[tokio::test]
async fn the_harness_shows_its_own_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let url = with_tls(folder.path(), true).await;
    let without = Connection { ca: Some("ca.pem".into()), ..straight() }.beside(folder.path());
    assert!(ask(&url, without).await.is_err());
    let with = Connection {
        ca: Some("ca.pem".into()),
        certificate: Some("caller.pem".into()),
        key: Some("caller.key".into()),
        ..straight()
    };
    assert_eq!(ask(&url, with.beside(folder.path())).await.unwrap(), "1.1");
}

#[tokio::test]
async fn http_2_is_spoken_without_tls_by_prior_knowledge() {
    let url = plain().await;
    assert_eq!(ask(&url, straight()).await.unwrap(), "1.1");
    assert_eq!(ask(&url, Connection { http: HttpVersion::Two, ..straight() }).await.unwrap(), "2");
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_whole_url_and_for_tunnels() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, heads) = proxy().await;
    let by_proxy = Connection { proxy: Some(format!("http://user:word@{authority}")), ..Connection::default() };
    assert_eq!(ask("http://api.invalid/v1", by_proxy.clone()).await.unwrap(), "forwarded");
    let url = with_tls(folder.path(), false).await;
    let tunnelled = Connection { ca: Some("ca.pem".into()), ..by_proxy.clone() }.beside(folder.path());
    assert_eq!(ask(&url, tunnelled).await.unwrap(), "1.1");
    let heads = heads.lock().unwrap().clone();
    assert!(heads[0].starts_with("GET http://api.invalid/v1/here HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[1].starts_with("CONNECT localhost:"), "{}", heads[1]);
    for head in heads {
        assert!(head.to_lowercase().contains("proxy-authorization: basic dxnlcjp3b3jk\r\n"), "{head}");
    }
    // What a proxy would read in its own way is not sent through it.
    assert!(!target("http://api.invalid", by_proxy).unwrap().has_wire());
    assert!(target("http://api.invalid", straight()).unwrap().has_wire());
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Some(format!("http://user:word@{gone}"));
    let error = ask("http://api.invalid", Connection { proxy, ..Connection::default() }).await.unwrap_err().to_string();
    assert!(error.contains(&format!("the proxy {gone}")) && !error.contains("word"), "{error}");
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
    let refused = |connection: Connection| {
        let error = target("https://api.invalid", connection.beside(folder.path())).unwrap_err();
        error.replace(&folder.path().display().to_string(), "FOLDER")
    };
    insta::assert_snapshot!(
        [
            refused(Connection { ca: Some("none.pem".into()), ..straight() }),
            refused(Connection { ca: Some("empty.pem".into()), ..straight() }),
            refused(Connection { certificate: Some("empty.pem".into()), ..straight() }),
            refused(Connection { proxy: Some("socks5://127.0.0.1:1080".into()), ..straight() }),
        ]
        .join("\n")
    );
}

#[tokio::test]
async fn after_a_cut_connection_none_is_used_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Answers the first request of each connection, and cuts it at the second.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 0 {}
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                head.clear();
                let _ = stream.read_line(&mut head).await;
            });
        }
    });
    let target = target(&url, straight()).unwrap();
    let ask = async || {
        let request =
            Request { method: Method::POST, path: "/".to_owned(), headers: Vec::new(), body: Bytes::new(), from: None };
        target.send(request).await.map(|response| response.status)
    };
    assert_eq!(ask().await.unwrap(), 200);
    assert!(matches!(ask().await, Err(Failure::Cut(_))), "the kept connection");
    for _ in 0..5 {
        assert_eq!(ask().await.unwrap(), 200, "one of its own");
    }
}
