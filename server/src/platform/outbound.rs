//! Requests that the server itself makes: to a model provider, and to hosts that the operator has allowed sources to
//! be fetched from. Bounded in time and size, over TLS where the address says so.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;

/// Redirects followed for one fetch. Each target must be on an allowed host as well.
const MAX_REDIRECTS: usize = 3;

/// Why a request got no usable answer. No variant carries a header, so no credential can show.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// The address is not an absolute http or https URL.
    #[error("the address is not an absolute http or https URL")]
    Address,
    /// The operator has not allowed this host.
    #[error("fetching from {0} is not allowed by this server's configuration")]
    NotAllowed(String),
    /// The other side could not be reached or broke off.
    #[error("the other side could not be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The other side took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The answer is larger than was allowed for.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Media type without parameters, lower case; empty when the other side gave none.
    pub media_type: String,
    /// The body.
    pub body: Bytes,
    location: Option<String>,
}

/// An HTTP client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Outbound(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Default for Outbound {
    fn default() -> Self {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_all_versions()
            .build();
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Outbound {
    /// Sends a request and reads its whole answer, `timeout` for everything, `max_bytes` of body at most.
    ///
    /// # Errors
    /// [`OutboundError`] when there is no whole answer. An error status is an answer.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Answer, OutboundError> {
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| OutboundError::Unreachable(error.into()))?;
            let (head, body) = response.into_parts();
            let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
            let media_type = text(header::CONTENT_TYPE)
                .and_then(|value| value.split(';').next())
                .map(|value| value.trim().to_ascii_lowercase())
                .unwrap_or_default();
            let location = text(header::LOCATION).map(str::to_owned);
            let body = Limited::new(body, max_bytes).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    OutboundError::TooLarge(max_bytes)
                } else {
                    OutboundError::Unreachable(error)
                }
            })?;
            Ok(Answer { status: head.status, media_type, body: body.to_bytes(), location })
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(OutboundError::Timeout(timeout)))
    }

    /// Sends a request and gives its answer's body as it comes: `timeout` to the head and between two pieces, `max_bytes`
    /// in all.
    ///
    /// # Errors
    /// [`OutboundError`] when no head of an answer comes; in the body, when it breaks off. An error status is an answer.
    pub async fn open(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<(StatusCode, BoxStream<'static, Result<Bytes, OutboundError>>), OutboundError> {
        let late = move |_| OutboundError::Timeout(timeout);
        let head = tokio::time::timeout(timeout, self.0.request(request)).await.map_err(late)?;
        let (head, body) = head.map_err(|error| OutboundError::Unreachable(error.into()))?.into_parts();
        let pieces = futures::stream::try_unfold((body, 0), move |(mut body, mut length)| async move {
            loop {
                let frame = tokio::time::timeout(timeout, body.frame()).await.map_err(late)?;
                let Some(frame) = frame else { return Ok(None) };
                let frame = frame.map_err(|error| OutboundError::Unreachable(error.into()))?;
                let Ok(data) = frame.into_data() else { continue };
                length += data.len();
                if length > max_bytes {
                    return Err(OutboundError::TooLarge(max_bytes));
                }
                return Ok(Some((data, (body, length))));
            }
        });
        Ok((head.status, Box::pin(pieces)))
    }

    /// Fetches a page from one of the allowed hosts, following redirects only to allowed hosts.
    ///
    /// # Errors
    /// [`OutboundError`], [`OutboundError::NotAllowed`] before anything is sent.
    pub async fn fetch(
        &self,
        url: &str,
        allowed: &AllowedHosts,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Answer, OutboundError> {
        let mut uri = allowed.check(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let request = Request::get(uri.clone())
                .header(header::USER_AGENT, concat!("trueline/", env!("CARGO_PKG_VERSION")))
                .header(header::ACCEPT, "text/html, text/plain, text/markdown, application/json, application/pdf")
                .body(Full::default())
                .map_err(|_| OutboundError::Address)?;
            let answer = self.send(request, timeout, max_bytes).await?;
            match (&answer.location, answer.status.is_redirection()) {
                (Some(location), true) => uri = allowed.check(&resolve(&uri, location))?,
                _ => return Ok(answer),
            }
        }
        Err(OutboundError::Unreachable("too many redirects".into()))
    }
}

/// Hosts that sources may be fetched from: `host` for any port, or `host:port`. None at all by default, because a
/// server that fetches whatever address it is given reaches into its own network for strangers.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// The hosts of the list.
    #[must_use]
    pub fn new(hosts: &[String]) -> Self {
        Self(hosts.iter().map(|host| host.trim().to_ascii_lowercase()).collect())
    }

    fn check(&self, url: &str) -> Result<Uri, OutboundError> {
        let uri: Uri = url.parse().map_err(|_| OutboundError::Address)?;
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(OutboundError::Address);
        };
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let with_port = format!("{host}:{port}");
        if self.0.iter().any(|allowed| *allowed == host || *allowed == with_port) {
            Ok(uri)
        } else {
            Err(OutboundError::NotAllowed(host))
        }
    }
}

/// The absolute address of a link found at `base`. What cannot be resolved comes back as it is and is refused later.
#[must_use]
pub fn resolve(base: &Uri, link: &str) -> String {
    let link = link.split('#').next().unwrap_or_default().trim();
    let (scheme, authority) =
        (base.scheme_str().unwrap_or("http"), base.authority().map_or("", http::uri::Authority::as_str));
    if link.contains("://") {
        link.to_owned()
    } else if let Some(rest) = link.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if link.starts_with('/') {
        format!("{scheme}://{authority}{link}")
    } else if link.is_empty() {
        base.to_string()
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut segments: Vec<&str> = folder.split('/').filter(|segment| !segment.is_empty()).collect();
        for segment in link.split('/') {
            match segment {
                "." => {}
                ".." => drop(segments.pop()),
                other => segments.push(other),
            }
        }
        format!("{scheme}://{authority}/{}", segments.join("/"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_hosts_are_reached() {
        let allowed = AllowedHosts::new(&["Docs.example.com".into(), "127.0.0.1:8080".into()]);
        for ok in ["https://docs.example.com/a", "http://DOCS.example.com:81/", "http://127.0.0.1:8080/x"] {
            assert!(allowed.check(ok).is_ok(), "{ok}");
        }
        for bad in [
            "https://example.com/",
            "http://docs.example.com.evil.test/",
            "http://127.0.0.1:22/",
            "ftp://docs.example.com/",
            "http://docs.example.com@evil.test/",
            "/relative",
            "",
            "http://[::1]/",
            "docs.example.com",
        ] {
            assert!(allowed.check(bad).is_err(), "{bad}");
        }
        assert!(AllowedHosts::default().check("https://docs.example.com/").is_err());
    }

    #[test]
    fn links_resolve_against_their_page() {
        let base: Uri = "http://h:1/a/b/page?x".parse().unwrap();
        let cases = [("c", "/a/b/c"), ("./c#top", "/a/b/c"), ("../c", "/a/c"), ("/c?d", "/c?d"), ("../../../c", "/c")];
        for (link, path) in cases {
            assert_eq!(resolve(&base, link), format!("http://h:1{path}"));
        }
        assert_eq!(resolve(&base, "//k/c"), "http://k/c");
        assert_eq!(resolve(&base, "https://k/c"), "https://k/c");
    }
}
