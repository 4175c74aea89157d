//! Chains: one request after the other, each made from the answers to those before it.

use std::sync::Arc;

use super::Run;
use super::bindings::{CaseContext, Made};
use crate::case::{Binding, Chain};
use crate::check::{Purpose, Step};

impl Run {
    pub(super) async fn chain(&self, chain: &Chain) -> Result<Vec<Step>, String> {
        let mut context = CaseContext::default();
        let mut steps: Vec<Step> = Vec::new();
        for act in &chain.acts {
            if self.must_stop().is_some() {
                return Err("the run ended before the sequence did".to_owned());
            }
            let sent = if act.times > 1 {
                self.at_once(act, &mut context).await
            } else {
                self.step(&act.call, &mut context, Purpose::Act).await.map(|step| vec![step])
            };
            let sent = match sent {
                Ok(sent) => sent,
                // What an act is made from may be missing because there is no more of it: the last page has no next one.
                Err(_) if act.optional => continue,
                Err(why) if steps.is_empty() => return Err(why),
                // The checks judge what there is; those that need more have nothing to say.
                Err(_) => break,
            };
            for mut step in sent {
                step.act.clone_from(&act.name);
                let documented = self.subject.operation(step.call.operation);
                let made = Made::of(documented, &step.call, &step.exchange);
                // A race makes several; any winner will do for what comes after.
                let won = step.exchange.status().is_some_and(|status| status < 300);
                if won || !context.acts.contains_key(&act.name) || act.times == 1 {
                    context.acts.insert(act.name.clone(), Arc::new(made));
                }
                steps.push(step);
            }
        }
        Ok(steps)
    }

    /// The same request several times at once.
    async fn at_once(&self, act: &crate::case::Act, context: &mut CaseContext) -> Result<Vec<Step>, String> {
        let bound = self.bind(&act.call, context).await?;
        let sent_ms = self.target.now_ms();
        let send = (0..act.times).map(|_| {
            let bound = bound.clone();
            let mut alone = CaseContext::default();
            alone.sessions.clone_from(&context.sessions);
            async move {
                let exchange = self.send(&bound, &mut alone).await?;
                Ok(Step { purpose: Purpose::Act, act: String::new(), call: bound, exchange, sent_ms })
            }
        });
        futures::future::join_all(send).await.into_iter().collect()
    }
}

impl Chain {
    /// The same chain without one of its acts and without all that is made from it; none if nothing is left.
    pub(super) fn without(&self, index: usize) -> Option<Chain> {
        let mut gone = vec![self.acts.get(index)?.name.clone()];
        let mut acts = Vec::new();
        for (number, act) in self.acts.iter().enumerate() {
            let needs = |name: &String| {
                // Of several acts with one name, the later ones only need that one of them is there.
                bindings_of(&act.call).iter().any(|binding| matches!(binding, Binding::Act { name: used, .. } | Binding::IfFull { name: used, .. } if used == name))
            };
            if number == index {
                continue;
            }
            if number > index && gone.iter().any(needs) {
                gone.push(act.name.clone());
                continue;
            }
            acts.push(act.clone());
        }
        (!acts.is_empty()).then(|| Chain { acts, ..self.clone() })
    }
}

/// Every binding of a call.
pub(crate) fn bindings_of(call: &crate::case::Call) -> Vec<&Binding> {
    use crate::case::{ArgumentValue, CallBody, Twist};
    let mut bindings: Vec<&Binding> = call
        .arguments
        .iter()
        .filter_map(|argument| match &argument.value {
            ArgumentValue::Bound(binding) => Some(binding),
            ArgumentValue::Value(_) => None,
        })
        .collect();
    if let Some(CallBody::Value { bindings: in_body, .. }) = &call.body {
        bindings.extend(in_body.iter().map(|(_, binding)| binding));
    }
    if let Some(Twist::BoundHeader(_, binding) | Twist::Follow(binding)) = &call.twist {
        bindings.push(binding);
    }
    bindings
}
