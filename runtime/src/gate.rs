//! The gate: what a service says by hand about its callers. Everything else about admission is the contract's.

use std::borrow::Cow;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;

use crate::contract::{Operation, Per, RateClass, Schemes};
use crate::problem::Failures;

/// Who may come in, and how often. Implemented once for each contract.
///
/// The router asks in the contract's `check-order`. [`Gate::identify`] is asked first and silently in any case, because
/// a limit may depend on who is asking; what it refuses is answered when it is the turn of `authenticate`.
pub trait Gate: Send + Sync + 'static {
    /// A caller that has proved who it is.
    type Principal: Send + Sync + 'static;
    /// The contract's generated `GateFailure`: the documented answers to a caller who is not let in.
    type Failure: Failures;

    /// Reads the credentials of a call.
    ///
    /// `Ok(None)`: there are none. An error that the operation does not document is answered as the contract's
    /// `refusals.unauthenticated` (or `forbidden`, by its status) instead.
    fn identify(
        &self,
        call: Call<'_>,
    ) -> impl Future<Output = Result<Option<Identity<Self::Principal>>, Self::Failure>> + Send;

    /// Judges what the contract has no words for: an address list, a suspended tenant. Schemes and scopes have been
    /// judged before.
    fn authorize(
        &self,
        _call: Call<'_>,
        _identity: &Identity<Self::Principal>,
    ) -> impl Future<Output = Result<(), Self::Failure>> + Send {
        async { Ok(()) }
    }

    /// Whose counter a call counts on: the user's, credential's or organization's id. `None`: nobody's, so that the
    /// caller's address stands in.
    fn counter<'a>(&'a self, per: Per, identity: &'a Identity<Self::Principal>) -> Option<Cow<'a, str>>;

    /// Counts a call on one counter of a rate class and tells where its owner now stands.
    fn count(&self, class: &'static RateClass, counter: &str) -> impl Future<Output = Standing> + Send;

    /// Where a caller stands without counting the call: for answers that the contract gives before it counts. By
    /// default the call counts.
    fn peek(&self, class: &'static RateClass, counter: &str) -> impl Future<Output = Standing> + Send {
        self.count(class, counter)
    }

    /// The caller's address; override it behind a proxy that is trusted to name it.
    fn address(&self, call: Call<'_>) -> Option<IpAddr> {
        call.peer
    }

    /// An id for this request, for the log and for the response. By default a random UUID; a gate may take over the
    /// one that a trusted proxy sent.
    fn request_id(&self, _parts: &Parts) -> Arc<str> {
        uuid::Uuid::new_v4().to_string().into()
    }

    /// A handler panicked. It has been logged, and the caller gets the internal error.
    fn on_panic(&self, _operation: Option<&'static Operation>, _request_id: &str, _message: &str) {}
}

/// A request on its way in.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What it asks for; `None` when its path or method is unknown.
    pub operation: Option<&'static Operation>,
    /// Its head.
    pub parts: &'a Parts,
    /// The path parameters, decoded, as they were sent.
    pub path: &'a [(&'static str, String)],
    /// The other end of the connection; `None` in process.
    pub peer: Option<IpAddr>,
}

impl Call<'_> {
    /// The token of `Authorization: Bearer <token>` (RFC 6750 section 2.1). The scheme's case does not matter.
    pub fn bearer(&self) -> Option<&str> {
        let value = self.parts.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' ')).filter(|token| !token.is_empty())
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The value of a path parameter, as it was sent.
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        self.path.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value.as_str())
    }
}

/// A caller that has proved who it is.
#[derive(Debug, Clone)]
pub struct Identity<P> {
    /// Who.
    pub principal: P,
    /// By which of the contract's schemes.
    pub schemes: Schemes,
    /// What the credential may do.
    pub scopes: Scopes,
}

impl<P> Identity<P> {
    /// A caller whose credential has every scope.
    pub fn new(principal: P, schemes: Schemes) -> Self {
        Identity { principal, schemes, scopes: Scopes::All }
    }

    /// The same with these scopes only.
    pub fn with_scopes(mut self, scopes: Arc<[String]>) -> Self {
        self.scopes = Scopes::Only(scopes);
        self
    }
}

/// What a credential may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scopes {
    /// Everything: scopes do not bind this kind of credential.
    #[default]
    All,
    /// These.
    Only(Arc<[String]>),
}

impl Scopes {
    /// Whether this scope is granted.
    pub fn grants(&self, scope: &str) -> bool {
        match self {
            Scopes::All => true,
            Scopes::Only(scopes) => scopes.iter().any(|granted| granted == scope),
        }
    }

    pub(crate) fn listed(&self) -> Option<&[String]> {
        match self {
            Scopes::All => None,
            Scopes::Only(scopes) => Some(scopes),
        }
    }
}

/// Where a caller stands in a rate class after this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether this call is within the limit.
    pub allowed: bool,
    /// Requests allowed in the window.
    pub limit: u64,
    /// Requests left in the window.
    pub remaining: u64,
    /// The end of the window in Unix seconds, rounded up.
    pub reset_unix: u64,
    /// Seconds from now to the end of the window, rounded up, at least 1.
    pub wait_seconds: u64,
}
