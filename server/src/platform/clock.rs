//! Time as a dependency: the system clock in production, a clock that tests move by hand everywhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, Utc};
use tokio::sync::Notify;

/// Milliseconds in one UTC day. UTC days have no leap seconds on a Unix clock, so this is exact.
pub const DAY_MS: i64 = 86_400_000;

/// Where a service reads the time, in milliseconds since 1970-01-01 UTC. Cloning is cheap and clones agree.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Hands>>);

/// The state that every clone of a manual clock reads.
#[derive(Debug)]
struct Hands {
    now_ms: AtomicI64,
    moved: Notify,
}

impl Clock {
    /// The machine's own clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// Milliseconds since the Unix epoch, UTC.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(hands) => hands.now_ms.load(Ordering::SeqCst),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        }
    }

    /// Waits until this clock shows `deadline_ms` or later. On a manual clock that is when somebody moves it there,
    /// so a test decides when waiting work goes on.
    pub async fn sleep_until(&self, deadline_ms: i64) {
        loop {
            let Some(hands) = &self.0 else {
                let left = u64::try_from(deadline_ms.saturating_sub(self.now_ms())).unwrap_or(0);
                return tokio::time::sleep(Duration::from_millis(left)).await;
            };
            // Registered before the time is read: a move between the two would otherwise be missed.
            let moved = hands.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if hands.now_ms.load(Ordering::SeqCst) >= deadline_ms {
                return;
            }
            moved.await;
        }
    }
}

/// The handle that moves a manual clock. Hand [`ManualClock::clock`] to the service and keep this one.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Hands>);

impl ManualClock {
    /// A clock that stands at `now_ms` until it is moved.
    #[must_use]
    pub fn starting_at(now_ms: i64) -> Self {
        Self(Arc::new(Hands { now_ms: AtomicI64::new(now_ms), moved: Notify::new() }))
    }

    /// The reading side, for the service.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Some(Arc::clone(&self.0)))
    }

    /// Milliseconds since the Unix epoch that the clock shows now.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.0.now_ms.load(Ordering::SeqCst)
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.now_ms.fetch_add(by_ms, Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    /// Puts the clock at a time, backwards too.
    pub fn set_ms(&self, now_ms: i64) {
        self.0.now_ms.store(now_ms, Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }
}

/// The instant as `DateTime`, cut to whole seconds, which is the precision the wire has.
#[must_use]
pub fn to_datetime(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(ms.div_euclid(1000), 0).unwrap_or(DateTime::UNIX_EPOCH)
}

/// The instant as ISO 8601 in UTC with a `Z`, whole seconds.
#[must_use]
pub fn iso8601(ms: i64) -> String {
    to_datetime(ms).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The UTC calendar day that holds the instant.
#[must_use]
pub fn utc_date(ms: i64) -> NaiveDate {
    to_datetime(ms).date_naive()
}

/// The UTC calendar month that holds the instant, as `YYYY-MM`, and the instant in milliseconds at which the next begins.
#[must_use]
pub fn utc_month(ms: i64) -> (String, i64) {
    let date = utc_date(ms);
    let (next_year, next_month) =
        if date.month() == 12 { (date.year() + 1, 1) } else { (date.year(), date.month() + 1) };
    let next = NaiveDate::from_ymd_opt(next_year, next_month, 1)
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .map_or(i64::MAX, |start| start.and_utc().timestamp_millis());
    (format!("{:04}-{:02}", date.year(), date.month()), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_end_where_the_calendar_says() {
        let feb_29 = NaiveDate::from_ymd_opt(2024, 2, 29).and_then(|d| d.and_hms_milli_opt(23, 59, 59, 999));
        let ms = feb_29.map_or(0, |d| d.and_utc().timestamp_millis());
        let (month, next) = utc_month(ms);
        assert_eq!((month.as_str(), next), ("2024-02", ms + 1));
        assert_eq!(utc_month(next).0, "2024-03");
        let (december, january) = utc_month(1_704_067_199_999);
        assert_eq!((december.as_str(), iso8601(january).as_str()), ("2023-12", "2024-01-01T00:00:00Z"));
    }

    #[test]
    fn clones_of_a_manual_clock_agree() {
        let manual = ManualClock::starting_at(1_000);
        let (one, two) = (manual.clock(), manual.clock());
        manual.advance(Duration::from_secs(1));
        assert_eq!((one.now_ms(), two.now_ms()), (2_000, 2_000));
        manual.set_ms(5);
        assert_eq!(one.now_ms(), 5);
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_clock_is_moved_past_its_time() {
        let manual = ManualClock::starting_at(0);
        let clock = manual.clock();
        let sleeper = tokio::spawn(async move { clock.sleep_until(100).await });
        tokio::task::yield_now().await;
        manual.advance(Duration::from_millis(99));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        manual.advance(Duration::from_millis(1));
        assert!(sleeper.await.is_ok());
    }
}
