//! Request counting in fixed windows. A window opens at a key's first request and closes a fixed time later, so one
//! reset time describes it completely.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use trueline_runtime::gate::Standing;

use super::clock::Clock;

/// Keys kept at most. Beyond it the windows that close soonest are forgotten: a flood of invented keys then costs
/// bounded memory, and the keys it can push out are those that were about to be forgotten anyway.
const MAX_KEYS: usize = 200_000;

/// How often closed windows are dropped. A full pass a minute costs nothing beside the requests that filled the map.
const SWEEP_EVERY_MS: i64 = 60_000;

/// A limit: so many requests in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests allowed in one window.
    pub requests: u64,
    /// Length of a window.
    pub window: Duration,
}

/// Counters of every class and key, in memory, on the injected clock.
#[derive(Debug)]
pub struct Limiter {
    clock: Clock,
    windows: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    by_key: HashMap<(&'static str, String), Window>,
    next_sweep_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    closes_ms: i64,
    used: u64,
}

impl Limiter {
    /// A limiter without any history.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, windows: Mutex::default() }
    }

    /// Counts one request of `key` in `class` and says whether it is within `limit`. A refused request is not counted,
    /// so refusals do not lengthen the wait.
    pub fn count(&self, class: &'static str, key: &str, limit: Limit) -> Standing {
        self.decide(class, key, limit, true)
    }

    /// What the next request would be told, without counting one.
    pub fn look(&self, class: &'static str, key: &str, limit: Limit) -> Standing {
        self.decide(class, key, limit, false)
    }

    /// Keys whose window is kept at present.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).by_key.len()
    }

    fn decide(&self, class: &'static str, key: &str, limit: Limit, count: bool) -> Standing {
        let now = self.clock.now_ms();
        let length = i64::try_from(limit.window.as_millis()).unwrap_or(i64::MAX);
        // A panic while the lock was held leaves the counters as usable as before: no step of an update can be half done.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if count {
            windows.sweep(now);
        }
        let mut window = windows
            .by_key
            .get(&(class, key.to_owned()))
            .copied()
            // A clock that was set back would otherwise keep a window open for longer than its length.
            .filter(|window| window.closes_ms > now && window.closes_ms - now <= length)
            .unwrap_or(Window { closes_ms: now.saturating_add(length), used: 0 });
        let allowed = window.used < limit.requests;
        if count && allowed {
            window.used += 1;
        }
        if count {
            windows.by_key.insert((class, key.to_owned()), window);
        }
        let left_ms = window.closes_ms - now;
        Standing {
            allowed,
            limit: limit.requests,
            remaining: limit.requests.saturating_sub(window.used),
            reset_unix: seconds_up(window.closes_ms),
            // At least one: "try again in 0 seconds" is an invitation to try at once.
            wait_seconds: seconds_up(left_ms).max(1),
        }
    }
}

impl Windows {
    fn sweep(&mut self, now: i64) {
        if now >= self.next_sweep_ms || self.next_sweep_ms - now > SWEEP_EVERY_MS || self.by_key.len() >= MAX_KEYS {
            self.by_key.retain(|_, window| window.closes_ms > now);
            self.next_sweep_ms = now.saturating_add(SWEEP_EVERY_MS);
        }
        if self.by_key.len() >= MAX_KEYS {
            let mut closing: Vec<i64> = self.by_key.values().map(|window| window.closes_ms).collect();
            let (_, cut, _) = closing.select_nth_unstable(MAX_KEYS / 4);
            let cut = *cut;
            // A flood within one millisecond has one closing time for all; keep at most three quarters even then.
            let mut room = MAX_KEYS * 3 / 4;
            self.by_key.retain(|_, window| {
                let keep = window.closes_ms > cut && room > 0;
                room -= usize::from(keep);
                keep
            });
        }
    }
}

/// Rounded up, so that waiting until then is enough.
fn seconds_up(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::super::clock::ManualClock;
    use super::*;

    const PER_MINUTE: Limit = Limit { requests: 3, window: Duration::from_secs(60) };

    #[test]
    fn a_window_opens_with_the_first_request_and_closes_on_time() {
        let clock = ManualClock::starting_at(1_500);
        let limiter = Limiter::new(clock.clock());
        let first = limiter.count("q", "k", PER_MINUTE);
        assert_eq!((first.allowed, first.limit, first.remaining, first.reset_unix), (true, 3, 2, 62));
        clock.advance(Duration::from_secs(28));
        assert_eq!(limiter.count("q", "k", PER_MINUTE).remaining, 1);
        assert_eq!(limiter.count("q", "k", PER_MINUTE).remaining, 0);
        let refused = limiter.count("q", "k", PER_MINUTE);
        assert_eq!((refused.allowed, refused.remaining, refused.wait_seconds), (false, 0, 32));
        clock.advance(Duration::from_millis(31_999));
        let last = limiter.count("q", "k", PER_MINUTE);
        assert_eq!((last.allowed, last.wait_seconds), (false, 1));
        clock.advance(Duration::from_millis(1));
        let fresh = limiter.count("q", "k", PER_MINUTE);
        assert_eq!((fresh.allowed, fresh.remaining, fresh.reset_unix), (true, 2, 122));
    }

    #[test]
    fn classes_and_keys_do_not_touch_each_other_and_looking_costs_nothing() {
        let clock = ManualClock::starting_at(0);
        let limiter = Limiter::new(clock.clock());
        for _ in 0..3 {
            assert!(limiter.count("q", "a", PER_MINUTE).allowed);
        }
        assert!(!limiter.look("q", "a", PER_MINUTE).allowed);
        assert!(limiter.count("q", "b", PER_MINUTE).allowed);
        assert!(limiter.count("r", "a", PER_MINUTE).allowed);
        assert_eq!(limiter.look("r", "a", PER_MINUTE).remaining, 2);
        assert_eq!(limiter.look("r", "unseen", PER_MINUTE).remaining, 3);
        assert_eq!(limiter.keys(), 3);
    }

    #[test]
    fn closed_windows_are_swept_and_memory_is_bounded() {
        let clock = ManualClock::starting_at(0);
        let limiter = Limiter::new(clock.clock());
        for n in 0..1_000 {
            limiter.count("q", &n.to_string(), PER_MINUTE);
        }
        clock.advance(Duration::from_secs(61));
        limiter.count("q", "one", PER_MINUTE);
        assert_eq!(limiter.keys(), 1);
        for n in 0..MAX_KEYS + 10 {
            limiter.count("q", &n.to_string(), PER_MINUTE);
        }
        assert!(limiter.keys() <= MAX_KEYS);
    }

    #[test]
    fn a_clock_set_back_does_not_lock_anybody_out() {
        let clock = ManualClock::starting_at(10_000_000);
        let limiter = Limiter::new(clock.clock());
        for _ in 0..4 {
            limiter.count("q", "a", PER_MINUTE);
        }
        clock.set_ms(0);
        assert!(limiter.count("q", "a", PER_MINUTE).allowed);
    }
}
