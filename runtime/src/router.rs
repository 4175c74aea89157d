//! The router: finds the operation, asks the gate in the contract's order, calls the handler, dresses every answer.
//!
//! It has its own table instead of one axum route for each operation, because the contract judges every request, also
//! those that match nothing: every answer needs the dialect, the rate-limit headers and the request id. What is generic
//! over a service is one small function for each operation ([`Routes::add`]); all else is compiled once for each gate.

use std::any::Any;
use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::ConnectInfo;
use futures::future::{BoxFuture, FutureExt};
use http::header::{ALLOW, CONTENT_LENGTH, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use tracing::Instrument;

use crate::contract::{
    Answer, CheckStep, Contract, HeaderReach, Operation, Per, RateClass, ResetUnit, RetryAfterForm, When,
};
use crate::decode::decode_path;
use crate::exchange::{Exchange, Incoming};
use crate::gate::{Call, Gate, Identity, Standing};
use crate::problem::Failures;
use crate::reject::{self, Refusal, Rejection, Why};
use crate::reply::{Broken, Response};
use crate::schemas::Schemas;

/// A handler at work.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Response, Rejection>> + Send + 'a>>;

/// In the extensions of every response: what answered, for logs and metrics.
#[derive(Debug, Clone)]
pub struct Handled {
    /// `None`: no operation matched.
    pub operation: Option<&'static Operation>,
    /// Also in the response's header.
    pub request_id: Arc<str>,
}

trait Handle<P>: Send + Sync {
    fn handle<'a>(&'a self, exchange: &'a mut Exchange<P>) -> Running<'a>;
}

struct Bound<S, P> {
    service: Arc<S>,
    handler: for<'a> fn(&'a S, &'a mut Exchange<P>) -> Running<'a>,
}

impl<S: Send + Sync, P> Handle<P> for Bound<S, P> {
    fn handle<'a>(&'a self, exchange: &'a mut Exchange<P>) -> Running<'a> {
        (self.handler)(&self.service, exchange)
    }
}

/// Operations and what answers them.
pub struct Routes<P> {
    entries: Vec<(&'static Operation, Box<dyn Handle<P>>)>,
}

impl<P: 'static> Default for Routes<P> {
    fn default() -> Self {
        Routes { entries: Vec::new() }
    }
}

impl<P: 'static> Routes<P> {
    /// Adds an operation.
    pub fn add<S: Send + Sync + 'static>(
        &mut self,
        operation: &'static Operation,
        service: &Arc<S>,
        handler: for<'a> fn(&'a S, &'a mut Exchange<P>) -> Running<'a>,
    ) {
        self.entries.push((operation, Box::new(Bound { service: service.clone(), handler })));
    }
}

impl<P> fmt::Debug for Routes<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(operation, _)| operation.id)).finish()
    }
}

struct Methods<P> {
    /// Names of the path parameters, in the order of the path.
    parameters: Vec<&'static str>,
    handlers: Vec<(Method, &'static Operation, Box<dyn Handle<P>>)>,
    /// The value of `Allow`.
    allow: HeaderValue,
}

struct Table<G: Gate> {
    contract: &'static Contract,
    gate: Arc<G>,
    schemas: Arc<Schemas>,
    paths: matchit::Router<usize>,
    methods: Vec<Methods<G::Principal>>,
    request_id_header: HeaderName,
    rate_headers: RateHeaders,
    challenge: Option<HeaderValue>,
}

#[derive(Default)]
struct RateHeaders {
    limit: Option<HeaderName>,
    remaining: Option<HeaderName>,
    reset: Option<HeaderName>,
}

/// Serves a contract; see [`router`].
pub struct Service<G: Gate>(Arc<Table<G>>);

impl<G: Gate> Clone for Service<G> {
    fn clone(&self) -> Self {
        Service(self.0.clone())
    }
}

impl<G: Gate> fmt::Debug for Service<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Service").field(&self.0.contract.name).finish()
    }
}

/// A router for a whole contract: every request gets an answer in its dialect, unmatched ones included. Merge or nest
/// it, and lay your own layers around it; the peer's address comes from axum's `ConnectInfo<SocketAddr>`.
///
/// # Panics
///
/// If the generated tables are not sound: a schema that does not compile, two paths that collide. Generation has proved
/// that they are.
pub fn router<G: Gate>(contract: &'static Contract, gate: Arc<G>, routes: Routes<G::Principal>) -> axum::Router {
    axum::Router::new().fallback_service(service(contract, gate, routes))
}

/// The same as a bare tower service.
///
/// # Panics
///
/// See [`router`].
pub fn service<G: Gate>(contract: &'static Contract, gate: Arc<G>, routes: Routes<G::Principal>) -> Service<G> {
    let sound = "generation has proved the tables";
    let mut paths = matchit::Router::new();
    let mut by_path: Vec<(&'static str, Methods<G::Principal>)> = Vec::new();
    for (operation, handler) in routes.entries {
        let index = match by_path.iter().position(|(path, _)| same_shape(path, operation.path)) {
            Some(index) => index,
            None => {
                paths.insert(positional(operation.path), by_path.len()).expect(sound);
                let methods =
                    Methods { parameters: Vec::new(), handlers: Vec::new(), allow: HeaderValue::from_static("") };
                by_path.push((operation.path, methods));
                by_path.len() - 1
            }
        };
        let method = operation.method.parse::<Method>().expect(sound);
        by_path[index].1.handlers.push((method, operation, handler));
    }
    let methods = by_path.into_iter().map(|(path, mut methods)| {
        methods.parameters = parameter_names(path);
        let mut allow: Vec<&str> = methods.handlers.iter().map(|(method, ..)| method.as_str()).collect();
        if allow.contains(&"GET") && !allow.contains(&"HEAD") {
            allow.push("HEAD");
        }
        allow.sort_unstable();
        methods.allow = allow.join(", ").parse().expect(sound);
        methods
    });
    let header = |name: Option<&'static str>| name.map(|name| name.parse().expect(sound));
    let rate_headers = contract.rate_limits.filter(|limits| limits.on != HeaderReach::None).map(|limits| RateHeaders {
        limit: header(limits.limit_header),
        remaining: header(limits.remaining_header),
        reset: header(limits.reset_header),
    });
    Service(Arc::new(Table {
        contract,
        gate,
        schemas: Arc::new(Schemas::compile(contract.schemas).expect(sound)),
        paths,
        methods: methods.collect(),
        request_id_header: contract.request_id_header.parse().expect(sound),
        rate_headers: rate_headers.unwrap_or_default(),
        challenge: contract.challenge.map(HeaderValue::from_static),
    }))
}

/// Whether two templates match the same paths: they differ in the names of their parameters at most.
fn same_shape(one: &str, other: &str) -> bool {
    let mut one = one.split('/');
    let mut other = other.split('/');
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (a.starts_with('{') && b.starts_with('{')) => {}
            _ => return false,
        }
    }
}

/// A template whose parameters are named by their place: two templates may call the same place differently.
fn positional(path: &str) -> String {
    let segment = |(index, segment): (usize, &str)| match segment.starts_with('{') {
        true => format!("{{p{index}}}"),
        false => segment.to_owned(),
    };
    path.split('/').enumerate().map(segment).collect::<Vec<_>>().join("/")
}

fn parameter_names(path: &'static str) -> Vec<&'static str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect()
}

impl<G: Gate> tower::Service<Request<Body>> for Service<G> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let table = self.0.clone();
        Box::pin(async move { Ok(table.answer(request).await) })
    }
}

/// What is known of a request while it is answered; it survives a panic.
struct Trace {
    operation: Option<&'static Operation>,
    standing: Option<(Standing, &'static RateClass)>,
    limited: bool,
    request_id: Arc<str>,
}

impl<G: Gate> Table<G> {
    async fn answer(&self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let head = parts.method == Method::HEAD;
        let request_id = self.gate.request_id(&parts);
        let mut trace = Trace { operation: None, standing: None, limited: false, request_id };
        let judged = AssertUnwindSafe(self.judge(parts, body, &mut trace)).catch_unwind().await;
        let mut response = match judged {
            Ok(response) if response.extensions().get::<Broken>().is_none() => response,
            Ok(_) => self.internal(trace.operation),
            Err(panic) => {
                let message = panic_message(&*panic);
                let operation = trace.operation.map(|operation| operation.id);
                tracing::error!(request_id = %trace.request_id, operation, panic = %message, "a handler panicked");
                self.gate.on_panic(trace.operation, &trace.request_id, &message);
                self.internal(trace.operation)
            }
        };
        self.dress(&mut response, trace);
        if head {
            strip_body(&mut response);
        }
        response
    }

    async fn judge(&self, parts: http::request::Parts, body: Body, trace: &mut Trace) -> Response {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
        let mut path = Vec::new();
        let mut unreadable = Vec::new();
        let mut allow = None;
        let mut found = None;
        if let Ok(matched) = self.paths.at(parts.uri.path()) {
            let methods = &self.methods[*matched.value];
            // An empty segment is no value: the path has a slash too many.
            let whole = matched.params.iter().all(|(_, text)| !text.is_empty());
            let wanted = |wanted: &Method| methods.handlers.iter().find(|(method, ..)| method == wanted);
            let head = || if parts.method == Method::HEAD { wanted(&Method::GET) } else { None };
            if whole {
                found = wanted(&parts.method).or_else(head).map(|(_, operation, handler)| (*operation, handler));
                allow = Some(&methods.allow);
            }
            if found.is_some() {
                for (name, (_, text)) in methods.parameters.iter().zip(matched.params.iter()) {
                    let text = decode_path(text).unwrap_or_else(|_| {
                        unreadable.push(*name);
                        Cow::Borrowed(text)
                    });
                    path.push((*name, text.into_owned()));
                }
            }
        }
        let Some((operation, handler)) = found else {
            return self.unmatched(Call { operation: None, parts: &parts, path: &[], peer }, allow, trace).await;
        };
        trace.operation = Some(operation);
        // Two templates of one shape may name their parameters differently.
        let named = operation.parameters.iter().filter(|parameter| parameter.place == crate::contract::Place::Path);
        for (parameter, (name, _)) in named.zip(&mut path) {
            if let Some(bad) = unreadable.iter_mut().find(|bad| **bad == *name) {
                *bad = parameter.name;
            }
            *name = parameter.name;
        }
        let incoming = Incoming { operation, parts, path, unreadable, body, schemas: self.schemas.clone(), peer };
        let mut exchange = Exchange { identity: None, incoming };
        if let Err(refused) = self.admit(operation, &mut exchange, trace).await {
            return refused;
        }
        let span = tracing::info_span!("request", request_id = %trace.request_id, operation = operation.id);
        match handler.handle(&mut exchange).instrument(span).await {
            Ok(response) => response,
            Err(rejection) => {
                let (answer, why) = reject::answer_to(&rejection, operation, self.contract);
                reject::answer(
                    answer,
                    why,
                    &Refusal {
                        violations: &rejection.violations,
                        path: &exchange.incoming.path,
                        max_bytes: operation.body.map_or(0, |body| body.max_bytes),
                        unlisted: operation.missing.iter().any(|missing| std::ptr::eq(missing.answer, answer)),
                        ..Refusal::default()
                    },
                )
            }
        }
    }

    /// The steps before `validate`, in the contract's order.
    async fn admit(
        &self,
        operation: &'static Operation,
        exchange: &mut Exchange<G::Principal>,
        trace: &mut Trace,
    ) -> Result<(), Response> {
        let call = exchange.incoming.call();
        let identified = if operation.security.is_empty() { Ok(None) } else { self.gate.identify(call).await };
        let identity = identified.as_ref().ok().and_then(Option::as_ref);
        let mut refused = None;
        for step in self.contract.check_order {
            let judged = match step {
                CheckStep::Limit => {
                    self.limit(Some(operation), call, identity, operation.refusals.limited, trace).await
                }
                CheckStep::Authenticate => match &identified {
                    Err(_) => Err(Refused::ByGate),
                    Ok(None) if !operation.admits_anonymous() => Err(Refused::Unauthenticated),
                    Ok(_) => Ok(()),
                },
                CheckStep::Authorize => match identity {
                    Some(identity) => self.authorize(operation, call, identity).await,
                    None => Ok(()),
                },
                CheckStep::Validate | CheckStep::Find => break,
            };
            if let Err(reason) = judged {
                refused = Some(reason);
                break;
            }
        }
        // Where the headers are promised on every response, an answer that is given before the count needs them too.
        if trace.standing.is_none() && self.promises_standing() {
            self.stand(operation.rate_classes, call, identity, trace, false).await;
        }
        match refused {
            None => {
                exchange.identity = identified.unwrap_or(None);
                Ok(())
            }
            Some(Refused::Answered(response)) => Err(response),
            Some(Refused::Unauthenticated) => Err(self.refuse(
                operation,
                operation.refusals.unauthenticated,
                Why::Unauthenticated,
                &Refusal { path: call.path, ..Refusal::default() },
            )),
            Some(Refused::ByGate) => match identified {
                Err(failure) => Err(self.gate_failure(operation, failure, call)),
                Ok(_) => Err(self.internal(Some(operation))),
            },
        }
    }

    async fn authorize(
        &self,
        operation: &'static Operation,
        call: Call<'_>,
        identity: &Identity<G::Principal>,
    ) -> Result<(), Refused> {
        let refusal = Refusal {
            path: call.path,
            required_scopes: operation.scopes,
            granted_scopes: identity.scopes.listed(),
            ..Refusal::default()
        };
        if !operation.admits(identity.schemes) && operation.knows(identity.schemes) {
            let answer = operation.refusals.unauthenticated;
            return Err(Refused::Answered(self.refuse(operation, answer, Why::Incomplete, &refusal)));
        }
        if !operation.admits(identity.schemes) && !operation.admits_anonymous() {
            let answer = operation.refusals.wrong_scheme.or(operation.refusals.unauthenticated);
            return Err(Refused::Answered(self.refuse(operation, answer, Why::WrongScheme, &refusal)));
        }
        if !operation.scopes.iter().all(|scope| identity.scopes.grants(scope)) {
            return Err(Refused::Answered(self.refuse(
                operation,
                operation.refusals.forbidden,
                Why::Forbidden,
                &refusal,
            )));
        }
        match self.gate.authorize(call, identity).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(Refused::Answered(self.gate_failure(operation, failure, call))),
        }
    }

    /// A gate's failure, if the operation documents it.
    fn gate_failure(&self, operation: &'static Operation, failure: G::Failure, call: Call<'_>) -> Response {
        let answer = failure.answer();
        if operation.documents(answer) {
            return crate::reply::failures(&failure);
        }
        let refusal = Refusal { path: call.path, ..Refusal::default() };
        match answer.status {
            401 => self.refuse(operation, operation.refusals.unauthenticated, Why::Unauthenticated, &refusal),
            403 => self.refuse(operation, operation.refusals.forbidden, Why::Forbidden, &refusal),
            _ => self.internal(Some(operation)),
        }
    }

    async fn limit(
        &self,
        operation: Option<&'static Operation>,
        call: Call<'_>,
        identity: Option<&Identity<G::Principal>>,
        answer: Option<&'static Answer>,
        trace: &mut Trace,
    ) -> Result<(), Refused> {
        let classes = match operation {
            Some(operation) => operation.rate_classes,
            None => self.contract.rate_limits.map_or(&[][..], |limits| limits.classes),
        };
        self.stand(classes, call, identity, trace, true).await;
        let Some((standing, class)) = &trace.standing else { return Ok(()) };
        if standing.allowed {
            return Ok(());
        }
        trace.limited = true;
        let refusal = Refusal { standing: Some(standing), class: Some(class), path: call.path, ..Refusal::default() };
        let answer = answer.unwrap_or(self.contract.unmatched.internal);
        Err(Refused::Answered(reject::answer(answer, Why::Limited, &refusal)))
    }

    /// Counts a call in every class that it belongs to, up to the first that is exhausted. The headers speak for the
    /// last one counted.
    async fn stand(
        &self,
        classes: &[&'static RateClass],
        call: Call<'_>,
        identity: Option<&Identity<G::Principal>>,
        trace: &mut Trace,
        count: bool,
    ) {
        // One of two credentials that are needed together is enough where a class counts by it.
        let counted_by = |identity: &Identity<G::Principal>| {
            let by = |class: &&'static RateClass| match class.when {
                When::Scheme(schemes) | When::AnonymousOr(schemes) => identity.schemes.meets(schemes),
                When::Always | When::Anonymous => false,
            };
            classes.iter().any(by)
        };
        let good = identity.filter(|identity| {
            call.operation.is_none_or(|operation| {
                operation.admits(identity.schemes) || operation.knows(identity.schemes) && counted_by(identity)
            })
        });
        for class in classes {
            let counts = match class.when {
                When::Always => call.operation.is_some(),
                When::Anonymous => good.is_none(),
                When::Scheme(schemes) => good.is_some_and(|identity| identity.schemes.meets(schemes)),
                When::AnonymousOr(schemes) => good.is_none_or(|identity| identity.schemes.meets(schemes)),
            };
            if !counts {
                continue;
            }
            let counter = match class.per {
                Per::Ip => None,
                // However an id is spelled, it is the same id.
                Per::Path(name) => call.path_parameter(name).map(|value| Cow::Owned(value.to_ascii_lowercase())),
                per => identity.and_then(|identity| self.gate.counter(per, identity)),
            };
            let counter = counter.unwrap_or_else(|| match self.gate.address(call) {
                Some(address) => Cow::Owned(address.to_string()),
                None => Cow::Borrowed("in-process"),
            });
            let standing = match count {
                true => self.gate.count(class, &counter).await,
                false => self.gate.peek(class, &counter).await,
            };
            trace.standing = Some((standing, class));
            if !standing.allowed {
                break;
            }
        }
    }

    fn promises_standing(&self) -> bool {
        self.contract.rate_limits.is_some_and(|limits| limits.on == HeaderReach::EveryResponse)
    }

    /// The answer to a request that matches no operation. It counts like any other where the contract promises the
    /// standing on every response; the gate is asked who it is, to find the class.
    async fn unmatched(&self, call: Call<'_>, allow: Option<&HeaderValue>, trace: &mut Trace) -> Response {
        let unmatched = &self.contract.unmatched;
        if self.promises_standing() {
            let identified = self.gate.identify(call).await;
            let identity = identified.as_ref().ok().and_then(Option::as_ref);
            if let Err(Refused::Answered(response)) = self.limit(None, call, identity, unmatched.limited, trace).await {
                return response;
            }
        }
        let refusal = Refusal::default();
        match allow {
            None => reject::answer(unmatched.path, Why::UnmatchedPath, &refusal),
            Some(allow) => {
                let mut response = reject::answer(unmatched.method, Why::UnmatchedMethod, &refusal);
                if unmatched.method.status == 405 {
                    // RFC 9110 section 15.5.6.
                    response.headers_mut().insert(ALLOW, allow.clone());
                }
                response
            }
        }
    }

    fn refuse(
        &self,
        operation: &'static Operation,
        answer: Option<&'static Answer>,
        why: Why,
        refusal: &Refusal<'_>,
    ) -> Response {
        match answer {
            Some(answer) => reject::answer(answer, why, refusal),
            None => self.internal(Some(operation)),
        }
    }

    fn internal(&self, operation: Option<&'static Operation>) -> Response {
        let answer = operation.map_or(self.contract.unmatched.internal, |operation| operation.refusals.internal);
        reject::answer(answer, Why::Internal, &Refusal::default())
    }

    /// What every response has.
    fn dress(&self, response: &mut Response, trace: Trace) {
        let status = response.status();
        if let (Some(limits), Some((standing, _))) = (self.contract.rate_limits, &trace.standing) {
            let carries = match limits.on {
                HeaderReach::EveryResponse => true,
                HeaderReach::LimitedOnly => trace.limited,
                HeaderReach::None => false,
            };
            let headers = response.headers_mut();
            if carries {
                let reset = match limits.reset {
                    ResetUnit::UnixSeconds => standing.reset_unix,
                    ResetUnit::DeltaSeconds => standing.wait_seconds,
                };
                let RateHeaders { limit, remaining, reset: reset_header } = &self.rate_headers;
                for (name, value) in [(limit, standing.limit), (remaining, standing.remaining), (reset_header, reset)] {
                    if let Some(name) = name {
                        headers.insert(name.clone(), HeaderValue::from(value));
                    }
                }
            }
            if trace.limited {
                match limits.retry_after {
                    RetryAfterForm::DeltaSeconds => {
                        headers.insert(RETRY_AFTER, HeaderValue::from(standing.wait_seconds));
                    }
                    RetryAfterForm::HttpDate => {
                        headers.extend(http_date(standing.reset_unix).map(|date| (RETRY_AFTER, date)));
                    }
                    RetryAfterForm::None => {}
                }
            }
        }
        if let (StatusCode::UNAUTHORIZED, Some(challenge)) = (status, &self.challenge) {
            response.headers_mut().entry(WWW_AUTHENTICATE).or_insert_with(|| challenge.clone());
        }
        if let Ok(id) = HeaderValue::from_str(&trace.request_id) {
            response.headers_mut().insert(self.request_id_header.clone(), id);
        }
        response.extensions_mut().insert(Handled { operation: trace.operation, request_id: trace.request_id });
    }
}

enum Refused {
    Unauthenticated,
    /// [`Gate::identify`] has said why.
    ByGate,
    Answered(Response),
}

/// The date of RFC 9110 section 5.6.7.
fn http_date(unix: u64) -> Option<HeaderValue> {
    let moment = chrono::DateTime::from_timestamp(i64::try_from(unix).ok()?, 0)?;
    moment.format("%a, %d %b %Y %H:%M:%S GMT").to_string().parse().ok()
}

/// The answer to HEAD: the head of the answer to GET (RFC 9110 section 9.3.2).
fn strip_body(response: &mut Response) {
    let length = http_body::Body::size_hint(response.body()).exact();
    *response.body_mut() = Body::empty();
    if let Some(length) = length.filter(|length| *length > 0) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
