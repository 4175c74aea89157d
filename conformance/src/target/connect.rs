//! How connections to a deployment are made: straight or through a proxy, whom TLS trusts, which HTTP is spoken.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tower::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type HttpClient = Client<HttpsConnector<Route>, Full<Bytes>>;

/// How to connect to a deployment: the profile's `[connection]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Connection {
    /// Certificate authorities (PEM, relative to the profile's folder) to trust beside the public ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The harness's own certificate with its chain (PEM), where the deployment asks for one; goes with `key`.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate` (PEM).
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Takes any certificate: self-signed, expired, of another host.
    #[serde(default)]
    pub insecure: bool,
    /// The proxy to go through, such as http://proxy.example.com:3128; an empty text for none. Where absent, what
    /// HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say.
    #[serde(default)]
    pub proxy: Option<String>,
    /// The version of HTTP; 1.1 if absent.
    #[serde(default)]
    pub http: HttpVersion,
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// HTTP/1.1 (RFC 9112).
    #[default]
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2 (RFC 9113); without TLS, by prior knowledge.
    #[serde(rename = "2")]
    Two,
}

impl Connection {
    /// With every path that starts nowhere starting in a folder.
    #[must_use]
    pub fn beside(mut self, folder: &Path) -> Self {
        for path in [&mut self.ca, &mut self.certificate, &mut self.key].into_iter().flatten() {
            *path = folder.join(&path);
        }
        self
    }

    fn proxies(&self) -> Result<Matcher, String> {
        let Some(proxy) = &self.proxy else { return Ok(Matcher::from_env()) };
        let known = proxy.is_empty() || proxy.starts_with("http://") || !proxy.contains("://");
        if !known {
            return Err(format!("the proxy `{proxy}` is not one that is spoken to by http://"));
        }
        Ok(Matcher::builder().all(proxy.as_str()).build())
    }

    fn tls(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            if let Some(path) = &self.ca {
                for certificate in certificates(path)? {
                    let refused = |error| format!("{} holds no authority to trust: {error}", path.display());
                    roots.add(certificate).map_err(refused)?;
                }
            }
            builder.with_root_certificates(roots)
        };
        match (&self.certificate, &self.key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => {
                let unreadable = |error| format!("cannot read a private key from {}: {error}", key.display());
                let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
                let misfit = |error| format!("{} and {}: {error}", certificate.display(), key.display());
                builder.with_client_auth_cert(certificates(certificate)?, private).map_err(misfit)
            }
            _ => Err("`certificate` and `key` go together".to_owned()),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("cannot read certificates from {}: {error}", path.display());
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let read = read.map_err(unreadable)?;
    if read.is_empty() { Err(format!("{} holds no certificate (PEM)", path.display())) } else { Ok(read) }
}

/// Makes the clients of one deployment, one for each address to send from.
#[derive(Debug)]
pub(super) struct Clients {
    tls: ClientConfig,
    proxies: Arc<Matcher>,
    http: HttpVersion,
}

impl Clients {
    /// Reads what the settings name; does not connect.
    pub(super) fn new(connection: &Connection) -> Result<Self, String> {
        let (tls, proxies) = (connection.tls()?, Arc::new(connection.proxies()?));
        Ok(Clients { tls, proxies, http: connection.http })
    }

    /// One that keeps connections for the next request, and one that makes a connection for each.
    pub(super) fn pair(&self, from: Option<IpAddr>) -> Pair {
        Pair { pooled: self.client(from, usize::MAX), fresh: self.client(from, 0) }
    }

    fn client(&self, from: Option<IpAddr>, idle: usize) -> HttpClient {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_local_address(from);
        direct.set_connect_timeout(Some(Duration::from_secs(10)));
        let route = Route { direct, proxies: Arc::clone(&self.proxies) };
        let builder = HttpsConnectorBuilder::new().with_tls_config(self.tls.clone()).https_or_http();
        let connector = match self.http {
            HttpVersion::One => builder.enable_http1().wrap_connector(route),
            HttpVersion::Two => builder.enable_http2().wrap_connector(route),
        };
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(idle)
            .http2_only(self.http == HttpVersion::Two)
            .build(connector)
    }

    /// The proxy on the way to a deployment.
    pub(super) fn proxy(&self, to: &Uri) -> Option<Proxy> {
        let intercept = self.proxies.intercept(to)?;
        // Through a tunnel the proxy hears of nothing but the tunnel.
        let authorization = (to.scheme_str() == Some("http")).then(|| intercept.basic_auth().cloned()).flatten();
        Some(Proxy { authorization })
    }
}

/// The clients of one address.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) pooled: HttpClient,
    pub(super) fresh: HttpClient,
}

/// A proxy on the way.
#[derive(Debug)]
pub(super) struct Proxy {
    /// What every request has to tell it (RFC 9110 section 11.7.2).
    pub(super) authorization: Option<HeaderValue>,
}

/// Connects straight or through a proxy.
#[derive(Debug, Clone)]
pub(super) struct Route {
    direct: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Service<Uri> for Route {
    type Response = Way;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Way, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.intercept(&to) else {
            let connecting = self.direct.call(to);
            return Box::pin(async move { Ok(Way { stream: connecting.await?, by_proxy: false }) });
        };
        if proxy.uri().scheme_str() != Some("http") {
            let why = format!("the proxy {} is not one that is spoken to by http://", shown(&proxy));
            return Box::pin(async move { Err(why.into()) });
        }
        let through = format!("the proxy {}", shown(&proxy));
        let named =
            move |error: BoxError| -> BoxError { format!("{through}: {}", super::http::root_cause(&*error)).into() };
        if to.scheme_str() == Some("https") {
            let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
            if let Some(authorization) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            let connecting = tunnel.call(to);
            return Box::pin(async move {
                let stream = connecting.await.map_err(|error| named(error.into()))?;
                Ok(Way { stream, by_proxy: false })
            });
        }
        let connecting = self.direct.call(proxy.uri().clone());
        Box::pin(async move {
            let stream = connecting.await.map_err(|error| named(error.into()))?;
            Ok(Way { stream, by_proxy: true })
        })
    }
}

/// Without what it may hold of a password.
fn shown(proxy: &Intercept) -> String {
    proxy.uri().authority().map_or_else(String::new, |authority| {
        let text = authority.as_str();
        text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned()
    })
}

/// A connection that knows whether a proxy reads its requests: those name the whole URL (RFC 9112 section 3.2.2).
#[derive(Debug)]
pub(super) struct Way {
    stream: TokioIo<TcpStream>,
    by_proxy: bool,
}

impl hyper_util::client::legacy::connect::Connection for Way {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.by_proxy)
    }
}

impl Read for Way {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Way {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }
}

/// Takes any certificate. Signatures are still checked, or the connection would be with anybody on the way.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
