//! Bindings at run time: resources are made when first needed, by the operation whose answer names them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use http::HeaderMap;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::Run;
use super::sessions::Session;
use crate::case::{ArgumentValue, Binding, Call, CallBody, Caller, Instance};
use crate::subject::lock;

/// The exchange that made a resource, as far as runtime expressions can ask for it.
#[derive(Debug, Default)]
pub(crate) struct Made {
    path: BTreeMap<String, Value>,
    query: BTreeMap<String, Value>,
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
    /// The caller's session where it is not the running one.
    pub(crate) session: Option<Arc<Session>>,
}

impl Run {
    /// Puts values in the place of a call's bindings. The error says what could not be had.
    pub(crate) async fn bind(&self, call: &Call, context: &mut CaseContext) -> Result<Call, String> {
        let mut bound = call.clone();
        self.freshen(&mut bound);
        let maker = match &call.caller {
            Caller::Principal(name) | Caller::FreshSession(name) => Some(name.as_str()),
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
                Binding::Login { principal, pointer } => {
                    let session = match &context.session {
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
        set_instances(&mut call, instance);
        let mut nested = CaseContext { own: context.own.clone(), session: None };
        let bound = self.bind(&call, &mut nested).await?;
        context.own.extend(nested.own.clone());
        let exchange = self.send(&bound, &mut nested).await?;
        let response = exchange.outcome.as_ref().map_err(|failure| format!("{}: {failure}", documented.id))?;
        if !(200..300).contains(&response.status) {
            let code = exchange.json().and_then(|body| self.subject.code_of(body));
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            return Err(format!(
                "{} answered {}{code} where it had to make a resource",
                documented.id, response.status
            ));
        }
        let mut made = Made {
            body: exchange.json().cloned().unwrap_or(Value::Null),
            headers: response.headers.clone(),
            ..Made::default()
        };
        for argument in &bound.arguments {
            if let ArgumentValue::Value(value) = &argument.value {
                let parameter = &documented.parameters[argument.parameter];
                let values = match parameter.place {
                    trueline_spec::contract::ParameterPlace::Path => &mut made.path,
                    _ => &mut made.query,
                };
                values.insert(parameter.name.clone(), value.clone());
            }
        }
        if let Some(CallBody::Value { value, .. }) = bound.body {
            made.request_body = value;
        }
        Ok(Arc::new(made))
    }
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
    /// Runtime expressions (OpenAPI 3.1, "Runtime Expressions").
    fn evaluate(&self, expression: &str) -> Option<Value> {
        let pointed = |body: &Value, rest: &str| match rest.strip_prefix('#') {
            Some(pointer) => body.pointer(pointer).cloned(),
            None => rest.is_empty().then(|| body.clone()),
        };
        if let Some(rest) = expression.strip_prefix("$response.body") {
            pointed(&self.body, rest)
        } else if let Some(rest) = expression.strip_prefix("$request.body") {
            pointed(&self.request_body, rest)
        } else if let Some(name) = expression.strip_prefix("$response.header.") {
            Some(Value::from(self.headers.get(name)?.to_str().ok()?))
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
