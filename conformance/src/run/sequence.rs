//! Sequences: using up a rate class or a quota, letting a session expire.

use std::time::Duration;

use chrono::{Datelike, TimeZone, Utc};
use trueline_spec::vocabulary::{QuotaWindow, ResetUnit};

use super::Run;
use super::bindings::CaseContext;
use super::perform::Attempt;
use crate::case::{Call, Caller, Case, Exhaust, QuotaScript, Script, Spend};
use crate::check::{Purpose, Sequence, Step, Verdicts};
use crate::exchange::Exchange;
use crate::stated::Stated;
use crate::subject::lock;

/// A class that allows more than this in a window is not used up: it would be an attack, not a test.
const MOST: u64 = 20_000;

impl Run {
    pub(crate) async fn attempt_sequence(&self, case: &Case) -> Result<Attempt, String> {
        let steps = match &case.script {
            Script::Exhaust(exhaust) => self.exhaust(exhaust).await?,
            Script::Spend(spend) => self.spend(spend).await?,
            Script::Quota(quota) => self.use_up(quota).await?,
            Script::Expire(call) => self.expire(call).await?,
            Script::Chain(chain) => self.chain(chain).await?,
            Script::Wire(wire) => self.wreck(wire).await?,
            Script::Single(_) => return Err("not a sequence".to_owned()),
        };
        let earlier = match &case.script {
            Script::Exhaust(exhaust) => steps.first().map_or(0, |first| self.earlier_uses(exhaust, first.sent_ms)),
            _ => 0,
        };
        let mut verdicts = Verdicts::default();
        // What a wreck is answered is no promise of the contract's.
        let wreck = matches!(case.script, Script::Wire(_));
        for step in steps.iter().filter(|step| !wreck || step.purpose == Purpose::Health) {
            self.judge(case, step, &mut verdicts);
        }
        let sequence = Sequence {
            profile: &self.profile,
            base_url: self.target.base_url(),
            subject: &self.subject,
            case,
            steps: &steps,
            earlier,
            virtual_clock: self.target.has_virtual_clock(),
        };
        for check in crate::check::all() {
            verdicts.asking(*check, Some(case.operation()), |verdicts| check.judge_sequence(&sequence, verdicts));
        }
        Ok(Attempt { steps, verdicts })
    }

    /// Notes a request of those that limits are exhausted with.
    pub(super) fn note_use(&self, call: &Call) {
        let caller = match &call.caller {
            Caller::Principal(name) => {
                self.profile.principals.get(name).and_then(|one| one.reserved_for).map(|_| name.clone())
            }
            _ => None,
        };
        let kept = [self.profile.exhausted_address(), self.profile.untouched_address()];
        let address = call.from.filter(|from| kept.contains(&Some(*from))).map(|from| from.to_string());
        let now = self.target.now_ms();
        let mut uses = lock(&self.uses);
        for name in [caller, address].into_iter().flatten() {
            let times = uses.entry(name).or_default();
            times.push(now);
            // No window allows more that is worth exhausting.
            if times.len() > 2 * MOST as usize {
                times.drain(..MOST as usize);
            }
        }
    }

    /// How often what a class counts by was used in a window's time before this moment (milliseconds since 1970).
    fn earlier_uses(&self, exhaust: &Exhaust, at_ms: i64) -> u64 {
        let names = [
            match &exhaust.probe.caller {
                Caller::Principal(name) => Some(name.clone()),
                _ => None,
            },
            exhaust.probe.from.map(|from| from.to_string()),
        ];
        let since = at_ms - i64::try_from(exhaust.window_ms).unwrap_or(i64::MAX);
        let uses = lock(&self.uses);
        let counts = names
            .into_iter()
            .flatten()
            .filter_map(|name| uses.get(&name))
            .map(|times| times.iter().filter(|at| (since..at_ms).contains(at)).count() as u64);
        counts.max().unwrap_or(0)
    }

    async fn exhaust(&self, exhaust: &Exhaust) -> Result<Vec<Step>, String> {
        let Exhaust { limit, probe, .. } = exhaust;
        if *limit > MOST {
            return Err(format!("the class allows {limit} requests in a window, more than are worth sending"));
        }
        // Whoever has used the counter before, it starts again with the window.
        let now = self.target.now_ms();
        if exhaust.untouched && exhaust.recovery && self.earlier_uses(exhaust, now) > 0 {
            self.pass(Duration::from_millis(exhaust.window_ms + 1_000), "beginning with a whole rate window").await;
        }
        let mut steps = Vec::new();
        let mut contexts = CaseContext::default();
        for _ in 0..*limit {
            if self.must_stop().is_some() {
                return Err("the run ended before the class was used up".to_owned());
            }
            let step = self.step(probe, &mut contexts, Purpose::Count).await?;
            let limited = step.exchange.status() == Some(429);
            let nothing_left = self.remaining(&step.exchange) == Some(0) && !exhaust.untouched;
            steps.push(step);
            if limited || nothing_left {
                break;
            }
        }
        steps.push(self.step(probe, &mut contexts, Purpose::Over).await?);
        for call in &exhaust.also_limited {
            steps.push(self.step(call, &mut CaseContext::default(), Purpose::AlsoLimited).await?);
        }
        for call in &exhaust.isolated {
            steps.push(self.step(call, &mut CaseContext::default(), Purpose::Isolated).await?);
        }
        if exhaust.recovery {
            self.recover(exhaust, &mut steps).await?;
        }
        Ok(steps)
    }

    /// Looks at the window's end: one second before it, and just after it, by what the service itself promised.
    async fn recover(&self, exhaust: &Exhaust, steps: &mut Vec<Step>) -> Result<(), String> {
        let refused = steps.iter().rfind(|step| step.purpose == Purpose::Over);
        let Some(refused) = refused.filter(|step| step.exchange.status() == Some(429)) else { return Ok(()) };
        let promised = self.promised_end_ms(refused);
        let end = promised.unwrap_or_else(|| refused.sent_ms + i64::try_from(exhaust.window_ms).unwrap_or(i64::MAX));
        // A promise of more than the window is broken in itself; nobody waits for it.
        let latest = refused.sent_ms + i64::try_from(exhaust.window_ms).unwrap_or(i64::MAX) + 2_000;
        let end = end.min(latest);
        let virtual_clock = self.target.has_virtual_clock();
        let mut context = CaseContext::default();
        let before = end - 1_000 - self.target.now_ms();
        if virtual_clock && promised.is_some() && before > 0 {
            self.pass(millis(before), "looking at the end of a rate window").await;
            steps.push(self.step(&exhaust.probe, &mut context, Purpose::BeforeReset).await?);
        }
        let after = end - self.target.now_ms();
        // On a clock that is not ours the two may differ by the second that the promise is rounded to.
        let after = if virtual_clock { after } else { after + 1_000 };
        if after > 0 {
            self.pass(millis(after), "looking at the end of a rate window").await;
        }
        steps.push(self.step(&exhaust.probe, &mut context, Purpose::AfterReset).await?);
        Ok(())
    }

    /// Counts down what the documented headers state. To the end only where that is near, and where its end comes within the
    /// run's patience: whoever shares the counter is shut out until then.
    async fn spend(&self, spend: &Spend) -> Result<Vec<Step>, String> {
        let mut context = CaseContext::default();
        let first = self.step(&spend.probe, &mut context, Purpose::Count).await?;
        if first.exchange.status() == Some(429) {
            return Err("the counter was used up before".to_owned());
        }
        let stated = self.stated(&first);
        let left = stated.left().and_then(|left| u64::try_from(left).ok());
        let left = left.ok_or("the answer does not state what is left")?;
        if left == 0 {
            return Err("nothing was left after the first request".to_owned());
        }
        // Every window ends some time, the tightest first.
        let end = stated.end_ms(i64::try_from(left).unwrap_or(i64::MAX));
        let patience = i64::try_from(spend.patience_s).unwrap_or(i64::MAX).saturating_mul(1000);
        let waits = end.is_some_and(|end| self.target.has_virtual_clock() || end - self.target.now_ms() <= patience);
        let to_the_end = spend.to_the_end && left <= Spend::MOST && waits;
        let mut steps = vec![first];
        // A count that does not go down shows in a few.
        let more = if to_the_end { left.max(Spend::FEW - 1) } else { Spend::FEW - 1 };
        for _ in 0..more {
            if self.must_stop().is_some() {
                return Err("the run ended before the counter was used up".to_owned());
            }
            let step = self.step(&spend.probe, &mut context, Purpose::Count).await?;
            let over = step.exchange.status() == Some(429) || self.stated(&step).left() == Some(0);
            steps.push(step);
            if over {
                break;
            }
        }
        if !to_the_end {
            return Ok(steps);
        }
        let nothing_left = steps.last().is_some_and(|last| self.stated(last).left() == Some(0));
        if nothing_left {
            for _ in 0..2 {
                steps.push(self.step(&spend.probe, &mut context, Purpose::Over).await?);
            }
        }
        // By what a refusal said, and by what its counter says; the earlier moment first.
        let mut moments = Vec::new();
        let refused = steps.iter().rfind(|step| step.exchange.status() == Some(429));
        if let Some(refused) = refused {
            let response = refused.exchange.response();
            let wait = response.and_then(crate::stated::retry_after_s).and_then(Result::ok);
            moments.extend(wait.map(|wait| (refused.sent_ms + wait.saturating_mul(1000), Purpose::AfterWait)));
            let reset = self.stated(refused).end_ms(0).or(end);
            moments.extend(reset.map(|reset| (reset, Purpose::AfterReset)));
        } else if let Some(end) = end {
            // Nobody was refused; whoever shares the counter is to find it as it was.
            moments.push((end, Purpose::AfterReset));
        }
        moments.sort_by_key(|(moment, _)| *moment);
        for (moment, purpose) in moments {
            // Both may be rounded.
            let wait = moment - self.target.now_ms() + 1_000;
            if wait > 0 && (self.target.has_virtual_clock() || wait <= patience.saturating_add(2_000)) {
                self.pass(millis(wait), "looking at the end of a rate window").await;
            } else if wait > 0 {
                continue;
            }
            steps.push(self.step(&spend.probe, &mut context, purpose).await?);
        }
        Ok(steps)
    }

    /// What the answer of a step states of rate limits.
    fn stated(&self, step: &Step) -> Stated {
        let operation = self.subject.operation(step.call.operation);
        step.exchange.response().map(|response| Stated::of(operation, response)).unwrap_or_default()
    }

    async fn use_up(&self, quota: &QuotaScript) -> Result<Vec<Step>, String> {
        if quota.limit > MOST {
            return Err(format!("the quota allows {} requests, more than are worth sending", quota.limit));
        }
        let mut steps = Vec::new();
        let mut context = CaseContext::default();
        for _ in 0..quota.limit {
            if self.must_stop().is_some() {
                return Err("the run ended before the quota was used up".to_owned());
            }
            let step = self.step(&quota.probe, &mut context, Purpose::Count).await?;
            let over = step.exchange.status() == Some(429);
            steps.push(step);
            if over {
                break;
            }
        }
        steps.push(self.step(&quota.probe, &mut context, Purpose::Over).await?);
        for call in &quota.also_refused {
            steps.push(self.step(call, &mut CaseContext::default(), Purpose::AlsoLimited).await?);
        }
        let window = self.subject.contract.quota(&quota.quota).map(|quota| quota.window);
        if quota.recovery
            && let Some(window) = window
            && let Some(until) = next_start_ms(window, self.target.now_ms())
        {
            let before = until - 2_000 - self.target.now_ms();
            if before > 0 {
                self.pass(millis(before), "looking at the end of a quota").await;
                steps.push(self.step(&quota.probe, &mut context, Purpose::BeforeReset).await?);
            }
            self.pass(millis(until + 1_000 - self.target.now_ms()), "looking at the end of a quota").await;
            steps.push(self.step(&quota.probe, &mut context, Purpose::AfterReset).await?);
        }
        Ok(steps)
    }

    async fn expire(&self, call: &Call) -> Result<Vec<Step>, String> {
        if !self.target.has_virtual_clock() {
            return Err("the lifetime of a session is longer than a run may wait".to_owned());
        }
        let mut context = CaseContext::default();
        let mut steps = vec![self.step(call, &mut context, Purpose::Alive).await?];
        let session = match &call.caller {
            Caller::FreshSession(name) => context.sessions.get(name),
            _ => None,
        };
        let lifetime = session.and_then(|session| session.lifetime_ms());
        let lifetime = lifetime.ok_or("the contract states no lifetime")?;
        let end = steps[0].sent_ms + lifetime;
        // Tokens count in whole seconds, so the last two are left alone.
        self.pass(millis(end - 2_000 - self.target.now_ms()), "letting a session grow old").await;
        steps.push(self.step(call, &mut context, Purpose::AlmostExpired).await?);
        self.pass(millis(end + 1_000 - self.target.now_ms()), "letting a session expire").await;
        steps.push(self.step(call, &mut context, Purpose::Expired).await?);
        Ok(steps)
    }

    fn remaining(&self, exchange: &Exchange) -> Option<u64> {
        let limits = self.subject.contract.vocabulary.as_ref()?.rate_limits.as_ref()?;
        exchange.response()?.header(limits.headers.remaining.as_deref()?)?.trim().parse().ok()
    }

    /// When the service says that a limited caller may come again, in milliseconds since 1970.
    fn promised_end_ms(&self, step: &Step) -> Option<i64> {
        let limits = self.subject.contract.vocabulary.as_ref()?.rate_limits.as_ref()?;
        let response = step.exchange.response()?;
        let number = |name: &str| response.header(name).and_then(|text| text.trim().parse::<i64>().ok());
        if let Some(reset) = limits.headers.reset.as_deref().and_then(number) {
            return Some(match limits.reset {
                ResetUnit::UnixSeconds => reset.saturating_mul(1000),
                ResetUnit::DeltaSeconds => step.sent_ms + reset.saturating_mul(1000),
            });
        }
        let wait =
            number("retry-after").or_else(|| step.exchange.json()?.pointer(limits.body.wait.as_deref()?)?.as_i64())?;
        Some(step.sent_ms + wait.saturating_mul(1000))
    }
}

fn millis(count: i64) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

/// When a quota's window starts again, in milliseconds since 1970.
fn next_start_ms(window: QuotaWindow, now_ms: i64) -> Option<i64> {
    let now = Utc.timestamp_millis_opt(now_ms).single()?;
    let next = match window {
        QuotaWindow::Day => now.date_naive().succ_opt()?,
        QuotaWindow::Month if now.month() == 12 => chrono::NaiveDate::from_ymd_opt(now.year() + 1, 1, 1)?,
        QuotaWindow::Month => chrono::NaiveDate::from_ymd_opt(now.year(), now.month() + 1, 1)?,
    };
    Some(next.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
}
