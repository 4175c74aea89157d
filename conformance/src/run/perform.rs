//! From a call to an exchange: encode, authenticate, send, judge.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;
use trueline_spec::contract::{Operation, ParameterPlace, PathPiece, SecurityKind};
use trueline_spec::vocabulary::Effect;

use super::Run;
use super::bindings::CaseContext;
use crate::case::{
    Alteration, ArgumentValue, BadCredentialSource, Binding, Call, CallBody, Caller, Case, Script, Twist,
};
use crate::check::{Purpose, Seen, Step, Verdicts};
use crate::data::wire::{self, WireParameter};
use crate::exchange::{Exchange, Failure, Request};
use crate::subject::lock;

/// What a case came to.
pub(crate) struct Attempt {
    pub(crate) steps: Vec<Step>,
    pub(crate) verdicts: Verdicts,
}

impl Attempt {
    pub(crate) fn last_status(&self) -> Option<u16> {
        self.steps.last().and_then(|step| step.exchange.status())
    }
}

impl Run {
    /// Sends a case of one request. The error says why it could not be sent.
    pub(crate) async fn attempt_single(&self, case: &Case) -> Result<Attempt, String> {
        let Script::Single(call) = &case.script else { return Err("not a case of one request".to_owned()) };
        let mut context = CaseContext::default();
        let step = self.step(call, &mut context, Purpose::Count).await?;
        let mut verdicts = Verdicts::default();
        self.judge(case, &step, &mut verdicts);
        Ok(Attempt { steps: vec![step], verdicts })
    }

    /// Binds and sends one call.
    pub(crate) async fn step(&self, call: &Call, context: &mut CaseContext, purpose: Purpose) -> Result<Step, String> {
        if let Caller::FreshSession(name) = &call.caller
            && !context.sessions.contains_key(name)
        {
            context.sessions.insert(name.clone(), self.fresh_session(name).await?);
        }
        for name in self.used_up_by(call) {
            if !context.sessions.contains_key(name) {
                context.sessions.insert(name.to_owned(), self.fresh_session(name).await?);
            }
        }
        let bound = self.bind(call, context).await?;
        let sent_ms = self.target.now_ms();
        let exchange = self.send(&bound, context).await?;
        Ok(Step { purpose, act: String::new(), call: bound, exchange, sent_ms })
    }

    /// Principals whose login's answer an anonymous call takes something from for good, such as a refresh token that is
    /// good once: the session that others go on using must not be the one.
    fn used_up_by<'c>(&self, call: &'c Call) -> Vec<&'c str> {
        let (Caller::Anonymous, Effect::Destroy) = (&call.caller, self.subject.operation(call.operation).effect) else {
            return Vec::new();
        };
        let Some(CallBody::Value { bindings, .. }) = &call.body else { return Vec::new() };
        let of_login = |(_, binding): &'c (String, Binding)| match binding {
            Binding::Login { principal, .. } => Some(principal.as_str()),
            _ => None,
        };
        bindings.iter().filter_map(of_login).collect()
    }

    /// Lets every check judge one exchange.
    pub(crate) fn judge(&self, case: &Case, step: &Step, verdicts: &mut Verdicts) {
        match &step.exchange.outcome {
            Ok(response) => {
                let secrets = self.secrets_of(&step.call);
                let seen = Seen {
                    subject: &self.subject,
                    case,
                    call: &step.call,
                    exchange: &step.exchange,
                    response,
                    secrets: &secrets,
                    profile: &self.profile,
                    scheme: match &step.call.caller {
                        Caller::Principal(name) | Caller::FreshSession(name) => {
                            self.profile.principals.get(name).map(|one| one.scheme.as_str())
                        }
                        Caller::Minted { by, .. } => self.planner().minted_scheme(by),
                        _ => None,
                    },
                    virtual_clock: self.target.has_virtual_clock(),
                };
                let operation = (!seen.is_unmatched()).then_some(step.call.operation);
                for check in crate::check::all() {
                    verdicts.asking(*check, operation, |verdicts| check.judge(&seen, verdicts));
                }
            }
            Err(Failure::Unreachable(_)) => {}
            Err(failure) => crate::check::input::no_answer(&self.subject, &step.call, failure, verdicts),
        }
    }

    /// What no answer to this call may repeat.
    fn secrets_of(&self, call: &Call) -> Vec<String> {
        let mut secrets = self.lasting_secrets();
        if let Some(CallBody::Value { value, .. }) = &call.body {
            let names = self.subject.secret_names();
            let (secret, plain): (Vec<_>, Vec<_>) =
                super::sessions::strings(value).into_iter().partition(|(key, _)| names.contains(key));
            let arguments = call.arguments.iter().filter_map(|argument| match &argument.value {
                ArgumentValue::Value(value) => Some(value),
                ArgumentValue::Bound(_) => None,
            });
            let arguments: Vec<String> = arguments.map(ToString::to_string).collect();
            for (_, text) in secret {
                // Short values turn up by accident, and what stands elsewhere in the request too may be shown for that.
                let elsewhere = plain.iter().any(|(_, other)| other.contains(text))
                    || arguments.iter().any(|other| other.contains(text));
                if text.len() >= 8 && !elsewhere {
                    secrets.push(text.to_owned());
                }
            }
        }
        secrets
    }

    /// Sends a call that has no bindings and nobody's session.
    pub(crate) async fn send_plain(&self, call: &Call) -> Result<Exchange, String> {
        let mut request = self.encode(call)?;
        self.add_headers(call, &mut request)?;
        Ok(self.exchange(request).await)
    }

    /// Sends a bound call with its caller's credential.
    pub(crate) async fn send(&self, call: &Call, context: &mut CaseContext) -> Result<Exchange, String> {
        let mut attempt = 0;
        loop {
            let request = self.prepare(call, context).await?;
            self.note_use(call);
            let exchange = self.exchange(request).await;
            match self.backs_off(call, &exchange, attempt) {
                Some(wait) if self.target.advance(wait) => {}
                Some(wait) => self.pass_quietly(wait).await,
                None => {
                    self.note_resource(call, &exchange);
                    return Ok(exchange);
                }
            }
            attempt += 1;
        }
    }

    /// A request of a call whose path is known whole.
    pub(crate) fn bare_request(&self, call: &Call, path: &str) -> Result<Request, String> {
        let operation = self.subject.operation(call.operation);
        let headers = vec![
            (USER_AGENT, HeaderValue::from_static(concat!("trueline/", env!("CARGO_PKG_VERSION")))),
            (ACCEPT, HeaderValue::from_static("*/*")),
        ];
        let method = operation.method.clone();
        Ok(Request { method, path: path.to_owned(), headers, body: bytes::Bytes::new(), from: call.from })
    }

    /// A bound call as a request with its caller's credential.
    pub(crate) async fn prepare(&self, call: &Call, context: &CaseContext) -> Result<Request, String> {
        let mut request = self.encode(call)?;
        self.authenticate(call, context, &mut request).await?;
        self.add_headers(call, &mut request)?;
        Ok(request)
    }

    /// The profile's own headers; what a call sets itself wins.
    pub(crate) fn add_headers(&self, call: &Call, request: &mut Request) -> Result<(), String> {
        let of_caller = match &call.caller {
            Caller::Principal(name) | Caller::FreshSession(name) | Caller::Minted { by: name, .. } => {
                self.profile.principals.get(name).map(|one| &one.headers)
            }
            _ => None,
        };
        for (name, value) in of_caller.into_iter().flatten().chain(&self.profile.headers) {
            let name = header_name(name)?;
            if !request.headers.iter().any(|(known, _)| *known == name) {
                request.headers.push((name, header_value(value)?));
            }
        }
        Ok(())
    }

    /// Counts a request that goes past [`Run::send`].
    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) async fn exchange(&self, request: Request) -> Exchange {
        self.keep_pace().await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let outcome = self.target.send(request.clone()).await;
        match &outcome {
            Err(Failure::Unreachable(_)) => self.lost.fetch_add(1, Ordering::Relaxed),
            _ => self.lost.swap(0, Ordering::Relaxed),
        };
        Exchange::new(request, outcome)
    }

    /// Waits for this request's turn, where the profile sets a pace.
    async fn keep_pace(&self) {
        let Some(pace) = self.options.pace.filter(|pace| *pace > 0.0) else { return };
        let gap = Duration::from_secs_f64(1.0 / pace);
        let slot = {
            let mut next = lock(&self.next_slot);
            let slot = (*next).max(Instant::now());
            *next = slot + gap;
            slot
        };
        tokio::select! {
            () = tokio::time::sleep_until(slot.into()) => {}
            () = self.stopped() => {}
        }
    }

    pub(crate) fn encode(&self, call: &Call) -> Result<Request, String> {
        let operation = self.subject.operation(call.operation);
        let mut headers = vec![
            (USER_AGENT, HeaderValue::from_static(concat!("trueline/", env!("CARGO_PKG_VERSION")))),
            (ACCEPT, HeaderValue::from_static("*/*")),
        ];
        let mut path = String::new();
        let mut query: Vec<String> = Vec::new();
        let mut cookies = Vec::new();
        let mut in_path: Vec<(&str, String)> = Vec::new();
        for argument in &call.arguments {
            let parameter = &operation.parameters[argument.parameter];
            let ArgumentValue::Value(value) = &argument.value else {
                return Err(format!("{} parameter `{}` is not bound", parameter.place, parameter.name));
            };
            match wire::encode_parameter(parameter, value).map_err(|error| error.to_string())? {
                WireParameter::Path(text) => in_path.push((&parameter.name, text)),
                WireParameter::Query(pairs) => {
                    query.extend(pairs.into_iter().map(|(name, value)| format!("{name}={value}")));
                }
                WireParameter::Header(text) => headers.push((header_name(&parameter.name)?, header_value(&text)?)),
                WireParameter::Cookie(pairs) => {
                    cookies.extend(pairs.into_iter().map(|(name, value)| format!("{name}={value}")));
                }
            }
        }
        // A path of the case's own has no parameters.
        let own_path = matches!(call.twist, Some(Twist::Path(_)));
        for piece in operation.path.pieces.iter().filter(|_| !own_path) {
            match piece {
                PathPiece::Literal(text) => path.push_str(text),
                PathPiece::Parameter(name) => {
                    let (_, text) = in_path
                        .iter()
                        .find(|(given, _)| given == name)
                        .ok_or_else(|| format!("path parameter `{name}` has no value"))?;
                    path.push_str(text);
                }
            }
        }
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query.join("&"));
        }
        if !cookies.is_empty() {
            headers.push((COOKIE, header_value(&cookies.join("; "))?));
        }
        let mut body = bytes::Bytes::new();
        match &call.body {
            Some(CallBody::Value { media, value, .. }) => {
                let media = self.subject.media(call.operation, *media).ok_or("the operation has no such media type")?;
                let encoded = wire::encode_body(media, value).map_err(|error| error.to_string())?;
                headers.push((CONTENT_TYPE, header_value(&encoded.content_type)?));
                body = encoded.bytes;
            }
            Some(CallBody::Raw { content_type, bytes }) => {
                if let Some(content_type) = content_type {
                    headers.push((CONTENT_TYPE, header_value(content_type)?));
                }
                body = bytes.to_bytes();
            }
            None => {}
        }
        let mut method = operation.method.clone();
        match &call.twist {
            Some(Twist::Method(other)) => {
                method = Method::from_bytes(other.as_bytes()).map_err(|_| format!("`{other}` is no method"))?;
            }
            Some(Twist::Path(other)) => path.clone_from(other),
            Some(Twist::ContentType(other)) => {
                headers.retain(|(name, _)| *name != CONTENT_TYPE);
                headers.push((CONTENT_TYPE, header_value(other)?));
            }
            Some(Twist::Header(name, value)) => {
                let name = header_name(name)?;
                headers.retain(|(other, _)| *other != name);
                headers.push((name, header_value(value)?));
            }
            // Bindings have been resolved by now.
            Some(Twist::BoundHeader(..) | Twist::Follow(_)) | None => {}
        }
        Ok(Request { method, path, headers, body, from: call.from })
    }

    pub(crate) async fn authenticate(
        &self,
        call: &Call,
        context: &CaseContext,
        request: &mut Request,
    ) -> Result<(), String> {
        let operation = self.subject.operation(call.operation);
        let (scheme, credential, verbatim) = match &call.caller {
            Caller::Anonymous => return Ok(()),
            Caller::Principal(name) | Caller::FreshSession(name) => {
                let own = match &call.caller {
                    Caller::FreshSession(_) => context.sessions.get(name),
                    _ => None,
                };
                let session = match own {
                    Some(session) => session.clone(),
                    None => self.session(name).await?,
                };
                let principal = self.profile.principals.get(name);
                let scheme = principal.map(|one| one.scheme.clone()).unwrap_or_default();
                let needed = principal.and_then(|one| Some((one, one.opens(operation)?)));
                for (other, credential) in needed.iter().flat_map(|(one, needed)| {
                    one.credentials.iter().filter(|(other, _)| **other != scheme && needed.schemes.contains_key(*other))
                }) {
                    self.attach(other, credential, false, request)?;
                }
                (scheme, Some(session.credential.clone()), false)
            }
            Caller::Bad { scheme, credential } => {
                self.attach_companions(operation, scheme, request).await?;
                let (credential, verbatim) = match credential {
                    BadCredentialSource::Absent => (None, false),
                    BadCredentialSource::Literal(text) => (Some(text.clone()), false),
                    BadCredentialSource::Verbatim(text) => (Some(text.clone()), true),
                    BadCredentialSource::Altered { principal, how } => {
                        let altered = alter(&self.good_credential(principal, scheme).await?, *how);
                        // It still holds most of the good one.
                        let shown = format!("${}_{how:?}", super::sessions::shout(principal)).to_uppercase();
                        self.learn_secret(&altered, shown);
                        (Some(altered), false)
                    }
                    BadCredentialSource::Revoked { by } => (Some(self.revoked(by).await?), false),
                    BadCredentialSource::FromLogin { principal, pointer } => {
                        let session = self.session(principal).await?;
                        let value = session.answer.pointer(pointer).and_then(Value::as_str);
                        let value =
                            value.ok_or_else(|| format!("the login of `{principal}` gave nothing at {pointer}"))?;
                        let shown = super::sessions::shout(&format!("${principal}{pointer}")).replacen('_', "$", 1);
                        self.learn_secret(value, shown);
                        (Some(value.to_owned()), false)
                    }
                };
                (scheme.clone(), credential, verbatim)
            }
            Caller::Minted { by, scopes } => {
                let scheme = self.planner().minted_scheme(by).unwrap_or_default().to_owned();
                (scheme, Some(self.minted(by, scopes).await?), false)
            }
        };
        match credential {
            Some(credential) => self.attach(&scheme, &credential, verbatim, request),
            None => Ok(()),
        }
    }

    /// A principal's good credential of one of its schemes.
    async fn good_credential(&self, principal: &str, scheme: &str) -> Result<String, String> {
        let further = self.profile.principals.get(principal).and_then(|one| one.credentials.get(scheme));
        match further {
            Some(credential) => Ok(credential.clone()),
            None => Ok(self.session(principal).await?.credential.clone()),
        }
    }

    /// Good credentials of the schemes that are needed together with this one, so that only this one can be at fault.
    async fn attach_companions(
        &self,
        operation: &Operation,
        scheme: &str,
        request: &mut Request,
    ) -> Result<(), String> {
        let together = |one: &&trueline_spec::contract::SecurityRequirement| {
            one.schemes.len() > 1 && one.schemes.contains_key(scheme)
        };
        let Some(needed) = operation.security.iter().find(together) else { return Ok(()) };
        let planner = self.planner();
        let holder = planner.free_principals().find(|(_, one)| needed.schemes.keys().all(|other| one.holds(other)));
        let (name, _) = holder.ok_or("no principal has every credential that is needed together")?;
        for other in needed.schemes.keys().filter(|other| *other != scheme) {
            let credential = self.good_credential(name, other).await?;
            self.attach(other, &credential, false, request)?;
        }
        Ok(())
    }

    /// Puts a credential where its scheme says.
    fn attach(&self, scheme: &str, credential: &str, verbatim: bool, request: &mut Request) -> Result<(), String> {
        let declared = self.subject.contract.security_schemes.get(scheme);
        let kind = &declared.ok_or_else(|| format!("the contract has no security scheme `{scheme}`"))?.kind;
        // Latin-1, because that is what arrives when a client sends bytes that are no ASCII.
        let value = |text: &str| {
            let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c as u32).unwrap_or(b'?')).collect();
            HeaderValue::from_bytes(&bytes).map_err(|_| "the credential cannot stand in a header".to_owned())
        };
        match kind {
            _ if verbatim && !matches!(kind, SecurityKind::ApiKey { .. }) => {
                request.headers.push((AUTHORIZATION, value(credential)?));
            }
            SecurityKind::Http { scheme, .. } if scheme == "basic" => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(credential);
                let text = if credential.contains(':') { encoded } else { credential.to_owned() };
                request.headers.push((AUTHORIZATION, value(&format!("Basic {text}"))?));
            }
            SecurityKind::Http { scheme, .. } if scheme != "bearer" => {
                request.headers.push((AUTHORIZATION, value(&format!("{scheme} {credential}"))?));
            }
            SecurityKind::Http { .. } | SecurityKind::OAuth2 { .. } | SecurityKind::OpenIdConnect { .. } => {
                request.headers.push((AUTHORIZATION, value(&format!("Bearer {credential}"))?));
            }
            SecurityKind::ApiKey { place: ParameterPlace::Query, name } => {
                let encode = |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
                let separator = if request.path.contains('?') { '&' } else { '?' };
                request.path = format!("{}{separator}{}={}", request.path, encode(name), encode(credential));
            }
            SecurityKind::ApiKey { place: ParameterPlace::Cookie, name } => {
                request.headers.push((COOKIE, value(&format!("{name}={credential}"))?));
            }
            SecurityKind::ApiKey { name, .. } => request.headers.push((header_name(name)?, value(credential)?)),
            SecurityKind::MutualTls => return Err("client certificates are not supported".to_owned()),
        }
        Ok(())
    }
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` cannot be the name of a header"))
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("`{}` cannot stand in a header", text.escape_debug()))
}

fn alter(credential: &str, how: Alteration) -> String {
    let length = credential.chars().count();
    match how {
        Alteration::Truncated => credential.chars().take(length.saturating_sub(4)).collect(),
        Alteration::Extended => format!("{credential}AAAA"),
        Alteration::Corrupted => {
            // In the middle of the last part: the last character of a base64url text may hold unused bits.
            let start = credential.rfind('.').map_or(0, |dot| credential[..=dot].chars().count());
            let place = start + (length - start) / 2;
            let other = |c: char| if c == 'A' { 'B' } else { 'A' };
            credential.chars().enumerate().map(|(i, c)| if i == place { other(c) } else { c }).collect()
        }
        Alteration::Unsigned => {
            let payload = credential.split('.').nth(1).unwrap_or_default();
            let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
            format!("{}.{payload}.", engine.encode(r#"{"alg":"none","typ":"JWT"}"#))
        }
    }
}
