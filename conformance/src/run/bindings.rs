//! Bindings at run time: resources are made when first needed, by the operation whose answer names them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use http::HeaderMap;
use serde_json::Value;
use tokio::sync::OnceCell;

use trueline_spec::contract::{Operation, ParameterPlace};

use super::Run;
use super::sessions::Session;
use crate::case::{ArgumentValue, Binding, Call, CallBody, Caller, Instance, Twist};
use crate::exchange::Exchange;
use crate::subject::lock;

/// The exchange that made a resource, as far as runtime expressions can ask for it.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// The path that was asked for.
    at: String,
    path: BTreeMap<String, Value>,
    query: BTreeMap<String, Value>,
    header: BTreeMap<String, Value>,
    request_body: Value,
    body: Value,
    headers: HeaderMap,
}

type Key = (usize, String, Instance);

/// Resources that cases share.
#[derive(Default)]
pub(crate) struct Resources {
    shared: Mutex<HashMap<Key, Arc<OnceCell<Arc<Made>>>>>,
}

/// What belongs to one case alone.
#[derive(Default)]
pub(crate) struct CaseContext {
    own: HashMap<usize, Arc<Made>>,
    /// Sessions that only this case uses, by principal.
    pub(crate) sessions: HashMap<String, Arc<Session>>,
    /// The exchanges of a chain so far, by act.
    pub(crate) acts: HashMap<String, Arc<Made>>,
}

impl Resources {
    /// What stood under this name is elsewhere now: whoever needs such a thing gets another one.
    pub(super) fn forget(&self, operation: usize, expression: &str, name: &Value) {
        lock(&self.shared).retain(|(producer, _, _), made| {
            *producer != operation || made.get().and_then(|made| made.evaluate(expression)).as_ref() != Some(name)
        });
    }
}

impl Run {
    /// Puts values in the place of a call's bindings. The error says what could not be had.
    pub(crate) async fn bind(&self, call: &Call, context: &mut CaseContext) -> Result<Call, String> {
        let mut bound = call.clone();
        self.freshen(&mut bound);
        let maker = match &call.caller {
            Caller::Principal(name) | Caller::FreshSession(name) | Caller::Minted { by: name, .. } => {
                Some(name.as_str())
            }
            _ => None,
        };
        for argument in &mut bound.arguments {
            if let ArgumentValue::Bound(binding) = &argument.value {
                argument.value = ArgumentValue::Value(self.resolve(binding, maker, context).await?);
            }
        }
        if let Some(CallBody::Value { value, bindings, .. }) = &mut bound.body {
            for (pointer, binding) in std::mem::take(bindings) {
                let resolved = self.resolve(&binding, maker, context).await?;
                if let Some(place) = value.pointer_mut(&pointer) {
                    *place = resolved;
                }
            }
        }
        match bound.twist.take() {
            Some(Twist::BoundHeader(name, binding)) => {
                let value = self.resolve(&binding, maker, context).await?;
                bound.twist = Some(Twist::Header(name, text_of(&value)));
            }
            Some(Twist::Follow(binding)) => {
                let place = self.resolve(&binding, maker, context).await?;
                // RFC 3986 section 5.1.3: relative to where the answer came from.
                let at = match &binding {
                    Binding::Act { name, .. } => context.acts.get(name).map(|made| made.at.clone()).unwrap_or_default(),
                    _ => String::new(),
                };
                let path = path_below(self.target.base_url(), &at, &text_of(&place))
                    .ok_or_else(|| format!("{} is not below the base URL", text_of(&place)))?;
                bound.twist = Some(Twist::Path(path));
            }
            other => bound.twist = other,
        }
        Ok(bound)
    }

    fn resolve<'a>(
        &'a self,
        binding: &'a Binding,
        maker: Option<&'a str>,
        context: &'a mut CaseContext,
    ) -> BoxFuture<'a, Result<Value, String>> {
        Box::pin(async move {
            match binding {
                Binding::Profile { principal, name } => self
                    .profile
                    .principals
                    .get(principal)
                    .and_then(|one| one.values.get(name))
                    .cloned()
                    .ok_or_else(|| format!("principal `{principal}` has no value `{name}`")),
                Binding::Act { name, expression } => {
                    let made = context.acts.get(name).ok_or_else(|| format!("nothing came of step `{name}`"))?;
                    let value = made.evaluate(expression).filter(|value| !value.is_null());
                    value.ok_or_else(|| format!("the exchange of step `{name}` has nothing at {expression}"))
                }
                Binding::IfFull { name, pointer, at_least, value } => {
                    let length =
                        context.acts.get(name).and_then(|made| made.body.pointer(pointer)?.as_array()).map(Vec::len);
                    let full = length.is_some_and(|length| length as u64 >= *at_least);
                    full.then(|| value.clone()).ok_or_else(|| format!("step `{name}` was the last page"))
                }
                Binding::Unique { stem, longest } => Ok(Value::from(self.unique(stem, *longest))),
                Binding::Login { principal, pointer } => {
                    let session = match context.sessions.get(principal) {
                        Some(session) => Arc::clone(session),
                        None => self.session(principal).await?,
                    };
                    let value = session.answer.pointer(pointer).cloned();
                    value.ok_or_else(|| format!("the login of `{principal}` gave nothing at {pointer}"))
                }
                Binding::Resource { producer, group, instance } => {
                    let made = match instance {
                        Instance::Own => match context.own.get(&producer.operation) {
                            Some(made) => Arc::clone(made),
                            None => {
                                let made = self.make(producer.operation, group, instance, maker, context).await?;
                                context.own.insert(producer.operation, Arc::clone(&made));
                                made
                            }
                        },
                        Instance::Shared(_) | Instance::Mutable(_) => {
                            let key = (producer.operation, group.clone(), instance.clone());
                            let cell = Arc::clone(lock(&self.resources.shared).entry(key).or_default());
                            let make = self.make(producer.operation, group, instance, maker, context);
                            Arc::clone(cell.get_or_try_init(|| make).await?)
                        }
                    };
                    let id = &self.subject.operation(producer.operation).id;
                    made.evaluate(&producer.expression)
                        .ok_or_else(|| format!("{id}'s exchange has nothing at {}", producer.expression))
                }
            }
        })
    }

    async fn make(
        &self,
        operation: usize,
        group: &str,
        instance: &Instance,
        maker: Option<&str>,
        context: &mut CaseContext,
    ) -> Result<Arc<Made>, String> {
        let planner = self.planner();
        let documented = self.subject.operation(operation);
        let may_make = |name: &str, one: &crate::profile::Principal| {
            one.group(name) == group && planner.accepts(documented, one) && !one.denied.contains(&documented.id)
        };
        let principals = &self.profile.principals;
        let maker = maker
            .filter(|name| principals.get(*name).is_some_and(|one| may_make(name, one)))
            .or_else(|| principals.iter().find(|(name, one)| may_make(name, one)).map(|(name, _)| name.as_str()))
            .ok_or_else(|| format!("nobody of group `{group}` may call {}", documented.id))?;
        let mut call = planner
            .plain_call(operation, &Caller::Principal(maker.to_owned()))
            .ok_or_else(|| format!("no valid request can be made for {}", documented.id))?;
        call.from = self.next_address();
        set_instances(&mut call, instance);
        let mut nested = CaseContext { own: context.own.clone(), ..CaseContext::default() };
        let mut bound = self.bind(&call, &mut nested).await?;
        context.own.extend(nested.own.clone());
        let mut exchange = self.send(&bound, &mut nested).await?;
        let refused = |exchange: &Exchange| exchange.outcome.as_ref().is_ok_and(|response| response.status >= 400);
        if refused(&exchange) && !documented.beyond_schema.is_empty() {
            // Somebody may be a member of what others made already, or what has to be free is taken: with everything made
            // for this one resource nothing of the kind stands in its way.
            set_instances(&mut call, &Instance::Own);
            let mut alone = CaseContext::default();
            bound = self.bind(&call, &mut alone).await?;
            exchange = self.send(&bound, &mut alone).await?;
        }
        let response = exchange.outcome.as_ref().map_err(|failure| format!("{}: {failure}", documented.id))?;
        if !(200..300).contains(&response.status) {
            let code = exchange.json().and_then(|body| self.subject.code_of(body));
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            return Err(format!(
                "{} answered {}{code} where it had to make a resource",
                documented.id, response.status
            ));
        }
        Ok(Arc::new(Made::of(documented, &bound, &exchange)))
    }

    /// A text that no other case of this run, and no other run, has.
    fn unique(&self, stem: &str, longest: Option<u32>) -> String {
        let number = self.uniques.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mark = format!("{}{number:x}", self.nonce);
        let room = longest.map_or(usize::MAX, |longest| longest as usize).saturating_sub(mark.len() + 1);
        let stem: String = stem.chars().take(room).collect();
        match stem.split_once('@') {
            Some((local, host)) => format!("{local}+{mark}@{host}"),
            None if stem.is_empty() => mark,
            None => format!("{stem}-{mark}"),
        }
    }
}

/// A scalar as it stands in a header.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The path below the base URL that a URL reference means (RFC 3986 section 5.2), if it leads there at all.
pub(crate) fn path_below(base_url: &str, at: &str, reference: &str) -> Option<String> {
    let (origin, base_path) = match base_url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(a, p)| (a, format!("/{p}")));
            (format!("{scheme}://{authority}"), path.trim_end_matches('/').to_owned())
        }
        None => (String::new(), String::new()),
    };
    let reference = reference.split('#').next().unwrap_or_default();
    let path = if let Some((scheme, rest)) = reference.split_once("://") {
        let (authority, path) = rest.split_once('/').map_or((rest, "/".to_owned()), |(a, p)| (a, format!("/{p}")));
        // A host that knows itself by another name still means itself, as long as this is its own.
        let same = format!("{scheme}://{authority}").eq_ignore_ascii_case(&origin);
        same.then_some(path)?
    } else if reference.starts_with("//") || reference.is_empty() {
        return None;
    } else if let Some(rest) = reference.strip_prefix('/') {
        format!("/{rest}")
    } else {
        let at = at.split('?').next().unwrap_or_default();
        let folder = at.rfind('/').map_or("/", |slash| &at[..=slash]);
        let relative = if let Some(query) = reference.strip_prefix('?') {
            format!("{at}?{query}")
        } else {
            format!("{folder}{}", reference.trim_start_matches("./"))
        };
        return Some(relative);
    };
    let below = path.strip_prefix(base_path.as_str())?;
    below.starts_with('/').then(|| below.to_owned())
}

/// What a resource is made from stands and falls with it.
fn set_instances(call: &mut Call, to: &Instance) {
    let set = |binding: &mut Binding| {
        if let Binding::Resource { instance, .. } = binding {
            *instance = to.clone();
        }
    };
    for argument in &mut call.arguments {
        if let ArgumentValue::Bound(binding) = &mut argument.value {
            set(binding);
        }
    }
    if let Some(CallBody::Value { bindings, .. }) = &mut call.body {
        bindings.iter_mut().for_each(|(_, binding)| set(binding));
    }
}

impl Made {
    /// What expressions may ask of an exchange.
    pub(crate) fn of(documented: &Operation, bound: &Call, exchange: &Exchange) -> Made {
        let mut made = Made {
            at: exchange.request.path.clone(),
            body: exchange.json().cloned().unwrap_or(Value::Null),
            headers: exchange.response().map(|response| response.headers.clone()).unwrap_or_default(),
            ..Made::default()
        };
        for argument in &bound.arguments {
            if let ArgumentValue::Value(value) = &argument.value {
                let parameter = &documented.parameters[argument.parameter];
                let values = match parameter.place {
                    ParameterPlace::Path => &mut made.path,
                    ParameterPlace::Header => &mut made.header,
                    _ => &mut made.query,
                };
                values.insert(parameter.name.clone(), value.clone());
            }
        }
        if let Some(CallBody::Value { value, .. }) = &bound.body {
            made.request_body = value.clone();
        }
        made
    }

    /// Runtime expressions (OpenAPI 3.1, "Runtime Expressions").
    pub(crate) fn evaluate(&self, expression: &str) -> Option<Value> {
        let pointed = |body: &Value, rest: &str| match rest.strip_prefix('#') {
            Some(pointer) => body.pointer(pointer).cloned(),
            None => rest.is_empty().then(|| body.clone()),
        };
        if let Some(rest) = expression.strip_prefix("$response.body") {
            pointed(&self.body, rest)
        } else if let Some(rest) = expression.strip_prefix("$request.body") {
            pointed(&self.request_body, rest)
        } else if let Some(name) = expression.strip_prefix("$response.header.") {
            // Two fragments of our own: the last piece of a URL, and the target of a link with `rel="next"` (RFC 8288).
            let (name, part) = name.split_once('#').unwrap_or((name, ""));
            let text = self.headers.get(name)?.to_str().ok()?;
            match part {
                "last" => {
                    let path = text.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
                    let last = path.rsplit('/').next().filter(|last| !last.is_empty())?;
                    Some(Value::from(percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned()))
                }
                "next" => next_link(text).map(Value::from),
                _ => Some(Value::from(text)),
            }
        } else if let Some(name) = expression.strip_prefix("$request.header.") {
            self.header.get(name).cloned()
        } else if let Some(name) = expression.strip_prefix("$request.path.") {
            self.path.get(name).cloned()
        } else if let Some(name) = expression.strip_prefix("$request.query.") {
            self.query.get(name).cloned()
        } else if expression.starts_with('$') {
            None
        } else {
            Some(Value::from(expression))
        }
    }
}

/// The target of the link with `rel="next"` in a `Link` header.
fn next_link(text: &str) -> Option<&str> {
    text.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|one| {
            let one = one.trim().to_ascii_lowercase();
            one == "rel=next" || one == "rel=\"next\""
        });
        next.then_some(target)
    })
}
