//! A document at a URL: one GET with limits of time and size.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Uri};
use http_body_util::{BodyExt, Full};

use super::connect::{Clients, Connection};
use super::http::root_cause;

/// As large as the largest document that is read from a disk.
const MAX_BYTES: usize = 64 << 20;

/// Browsers stop at 20; a document that moved more often than this has no home.
const MAX_MOVES: usize = 5;

/// The time for one document, redirections included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Gets what a URL names. Works inside and outside of a runtime; the error is a lower-case fragment.
pub fn fetch(url: &str) -> Result<Vec<u8>, String> {
    // A runtime must not be started inside of another one; a thread of its own may start one anywhere.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let got = runtime.block_on(async { tokio::time::timeout(TIMEOUT, get(url)).await });
            got.unwrap_or_else(|_| Err(format!("no whole answer within {} s", TIMEOUT.as_secs())))
        });
        work.join().unwrap_or_else(|_| Err("the thread that fetched it stopped".to_owned()))
    })
}

async fn get(url: &str) -> Result<Vec<u8>, String> {
    let client = Clients::new(&Connection::default())?.pair(None).pooled;
    let mut url = url.split('#').next().unwrap_or_default().to_owned();
    for _ in 0..=MAX_MOVES {
        let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
        let mut request = http::Request::new(Full::new(Bytes::new()));
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri.clone();
        let accepted = "application/yaml, application/json;q=0.9, text/yaml;q=0.8, */*;q=0.5";
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accepted));
        let agent = concat!("trueline/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        let response = client.request(request).await.map_err(|error| root_cause(&error))?;
        let (parts, mut body) = response.into_parts();
        if parts.status.is_redirection() {
            let target = parts.headers.get(LOCATION).and_then(|target| target.to_str().ok());
            let target = target.ok_or_else(|| format!("{} without a place to go", parts.status))?;
            url = moved(&uri, target);
            continue;
        }
        if !parts.status.is_success() {
            return Err(format!("the server answers {}", parts.status));
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(|error| root_cause(&error))?.into_data() {
                if bytes.len() + data.len() > MAX_BYTES {
                    return Err(format!("it has more than {MAX_BYTES} bytes"));
                }
                bytes.extend_from_slice(&data);
            }
        }
        return Ok(bytes);
    }
    Err(format!("it moved more than {MAX_MOVES} times"))
}

/// Where `Location` leads (RFC 9110 section 10.2.2), for the forms that servers use: a URL, a path, a name beside.
fn moved(from: &Uri, target: &str) -> String {
    let origin =
        format!("{}://{}", from.scheme_str().unwrap_or("http"), from.authority().map_or("", |one| one.as_str()));
    match target {
        whole if whole.contains("://") => whole.to_owned(),
        other if other.starts_with("//") => format!("{}:{other}", from.scheme_str().unwrap_or("http")),
        path if path.starts_with('/') => format!("{origin}{path}"),
        name => {
            let folder = from.path().rfind('/').map_or("/", |end| &from.path()[..=end]);
            format!("{origin}{folder}{name}")
        }
    }
}
