//! Profile and analytics — documentation section "Profile & Analytics": XP, streaks and quests by the user's own days, and the
//! time spent learning.

use std::collections::BTreeMap;

use chrono::{NaiveDate, NaiveTime};
use chrono_tz::Tz;
use contract_xentree::server::{
    GetDailyQuestsError, GetDailyQuestsRequest, GetDailyQuestsResponse, GetLearningPulseError, GetLearningPulseRequest,
    GetLearningPulseResponse, GetLearningTimeAnalyticsError, GetLearningTimeAnalyticsRequest,
    GetLearningTimeAnalyticsResponse, GetMyXpProfileError, GetMyXpProfileRequest, GetMyXpProfileResponse,
    GetPublicXpProfileError, GetPublicXpProfileRequest, GetPublicXpProfileResponse, GetStreakStatusError,
    GetStreakStatusRequest, GetStreakStatusResponse, GetWeeklyActivityError, GetWeeklyActivityRequest,
    GetWeeklyActivityResponse, ProfileAnalytics,
};
use contract_xentree::types::{
    DailyLearningTime, DailyXp, LearningPulseDayEntry, LearningPulseResponse, LearningTimeAnalyticsResponse,
    PublicXpProfileResponse, QuestItem, QuestsResponse, StreakStatusResponse, WeeklyActivityResponse,
    XpProfileResponse,
};
use sqlx::AnyConnection;

use super::Service;
use super::access::{Principal, internal, not_found};
use super::progress::{Done, Streak, back, intensity, level, local_day, on, quests, week_start, zone};
use super::wire::{nullable, small};
use crate::platform::clock::{DAY_MS, to_datetime, utc_date};
use crate::platform::store::{StoreError, column};

/// Days of the pulse, today included.
const PULSE_DAYS: u64 = 365;

impl ProfileAnalytics for Service {
    type Principal = Principal;

    async fn get_my_xp_profile(
        &self,
        caller: &Principal,
        _: GetMyXpProfileRequest,
    ) -> Result<GetMyXpProfileResponse, GetMyXpProfileError> {
        let now = self.0.clock.now_ms();
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let learner = Learner::by_id(&mut snapshot, &caller.user, now).await.map_err(internal)?;
        let row = sqlx::query(
            "SELECT COALESCE(w.tokens, 0), b.percent, b.ends_ms FROM users AS u \
             LEFT JOIN xp_wallets AS w ON w.user_id = u.id \
             LEFT JOIN xp_boosters AS b ON b.user_id = u.id AND b.ends_ms > $2 WHERE u.id = $1",
        )
        .bind(&caller.user)
        .bind(now)
        .fetch_one(&mut *snapshot)
        .await
        .map_err(internal)?;
        snapshot.commit().await.map_err(internal)?;
        let streak = learner.streak();
        let (level, xp_to_next_level) = level(learner.total());
        let percent: Option<i64> = column(&row, 1).map_err(internal)?;
        let ends_ms: Option<i64> = column(&row, 2).map_err(internal)?;
        Ok(GetMyXpProfileResponse::Ok(XpProfileResponse {
            user_id: caller.user.clone(),
            total_xp: learner.total(),
            level,
            xp_to_next_level,
            current_streak: streak.current,
            longest_streak: streak.longest,
            token_balance: column(&row, 0).map_err(internal)?,
            booster_multiplier: nullable(percent.map(|percent| ratio(percent, 100))),
            booster_ends_at: nullable(ends_ms.map(to_datetime)),
            today_xp: learner.on(learner.today),
            username: learner.username,
        }))
    }

    async fn get_public_xp_profile(
        &self,
        request: GetPublicXpProfileRequest,
    ) -> Result<GetPublicXpProfileResponse, GetPublicXpProfileError> {
        let now = self.0.clock.now_ms();
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let learner = Learner::by_name(&mut snapshot, &request.username, now).await.map_err(internal)?;
        snapshot.commit().await.map_err(internal)?;
        let learner = learner.ok_or_else(|| not_found("User not found"))?;
        let streak = learner.streak();
        Ok(GetPublicXpProfileResponse::Ok(PublicXpProfileResponse {
            level: level(learner.total()).0,
            total_xp: learner.total(),
            current_streak: streak.current,
            longest_streak: streak.longest,
            username: learner.username,
            display_name: nullable(learner.nickname),
            avatar_url: nullable(learner.avatar_url),
        }))
    }

    async fn get_streak_status(
        &self,
        caller: &Principal,
        _: GetStreakStatusRequest,
    ) -> Result<GetStreakStatusResponse, GetStreakStatusError> {
        let learner = self.learner(caller).await.map_err(internal)?;
        let streak = learner.streak();
        Ok(GetStreakStatusResponse::Ok(StreakStatusResponse {
            current_streak: streak.current,
            longest_streak: streak.longest,
            freezes_available: streak.savers,
            freezes_used: streak.savers_used,
            last_activity: streak.last_activity,
            streak_at_risk: streak.at_risk,
        }))
    }

    async fn get_weekly_activity(
        &self,
        caller: &Principal,
        _: GetWeeklyActivityRequest,
    ) -> Result<GetWeeklyActivityResponse, GetWeeklyActivityError> {
        let learner = self.learner(caller).await.map_err(internal)?;
        let start = week_start(learner.today);
        let days: Vec<DailyXp> =
            (0..7).map(|n| on(start, n)).map(|date| DailyXp { date, xp: learner.on(date) }).collect();
        let in_week = |day: &NaiveDate| (start..=on(start, 6)).contains(day);
        Ok(GetWeeklyActivityResponse::Ok(WeeklyActivityResponse {
            week_start: start,
            week_end: on(start, 6),
            timezone: learner.zone.name().to_owned(),
            total_xp: days.iter().map(|day| day.xp).sum(),
            freeze_covered_dates: learner.streak().covered.into_iter().filter(in_week).collect(),
            days,
        }))
    }

    async fn get_learning_pulse(
        &self,
        caller: &Principal,
        _: GetLearningPulseRequest,
    ) -> Result<GetLearningPulseResponse, GetLearningPulseError> {
        let learner = self.learner(caller).await.map_err(internal)?;
        let first = back(learner.today, PULSE_DAYS - 1);
        let days: Vec<LearningPulseDayEntry> = (0..PULSE_DAYS)
            .map(|n| on(first, n))
            .map(|date| {
                let xp = learner.on(date);
                LearningPulseDayEntry { date, xp, intensity: Some(intensity(xp)) }
            })
            .collect();
        Ok(GetLearningPulseResponse::Ok(LearningPulseResponse {
            active_days: small(days.iter().filter(|day| day.xp > 0).count()),
            total_xp: days.iter().map(|day| day.xp).sum(),
            days,
        }))
    }

    async fn get_daily_quests(
        &self,
        caller: &Principal,
        _: GetDailyQuestsRequest,
    ) -> Result<GetDailyQuestsResponse, GetDailyQuestsError> {
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let row = sqlx::query("SELECT timezone FROM users WHERE id = $1")
            .bind(&caller.user)
            .fetch_one(&mut *snapshot)
            .await
            .map_err(internal)?;
        let zone = zone(column::<Option<String>>(&row, 0).map_err(internal)?.as_deref());
        let today = local_day(zone, self.0.clock.now_ms());
        let done = Done::read(&mut snapshot, &caller.user, today).await.map_err(internal)?;
        snapshot.commit().await.map_err(internal)?;
        let items = quests(today).map(|quest| QuestItem {
            id: quest.id.to_owned(),
            title: quest.title.to_owned(),
            description: nullable(Some(quest.description.to_owned())),
            target: quest.target,
            progress: done.progress(quest).min(quest.target),
            xp_reward: quest.xp,
            is_completed: done.progress(quest) >= quest.target,
        });
        Ok(GetDailyQuestsResponse::Ok(QuestsResponse {
            date: today,
            completed_count: small(items.iter().filter(|item| item.is_completed).count()),
            total_count: small(items.len()),
            quests: items.into(),
        }))
    }

    async fn get_learning_time_analytics(
        &self,
        caller: &Principal,
        request: GetLearningTimeAnalyticsRequest,
    ) -> Result<GetLearningTimeAnalyticsResponse, GetLearningTimeAnalyticsError> {
        let (start, end) = (request.start_date, request.end_date);
        let spans = self.spans(caller, start, end).await.map_err(internal)?;
        let daily = by_day(&spans, start, end);
        let total_seconds = daily.iter().map(|day| day.seconds).sum();
        let session_count = daily.iter().map(|day| day.sessions).sum();
        Ok(GetLearningTimeAnalyticsResponse::Ok(LearningTimeAnalyticsResponse {
            start_date: nullable(start),
            end_date: nullable(end),
            total_seconds,
            session_count,
            average_session_seconds: if session_count == 0 { 0.0 } else { ratio(total_seconds, session_count) },
            daily,
        }))
    }
}

/// A user with all days of learning.
#[derive(Clone, Debug)]
struct Learner {
    username: String,
    nickname: Option<String>,
    avatar_url: Option<String>,
    zone: Tz,
    today: NaiveDate,
    days: BTreeMap<NaiveDate, i64>,
}

impl Learner {
    async fn by_id(connection: &mut AnyConnection, user: &str, now: i64) -> Result<Self, StoreError> {
        let row = sqlx::query("SELECT id, username, nickname, avatar_url, timezone FROM users WHERE id = $1")
            .bind(user)
            .fetch_one(&mut *connection)
            .await?;
        Self::read(connection, &row, now).await
    }

    async fn by_name(connection: &mut AnyConnection, username: &str, now: i64) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query("SELECT id, username, nickname, avatar_url, timezone FROM users WHERE username = $1")
            .bind(username)
            .fetch_optional(&mut *connection)
            .await?;
        match row {
            Some(row) => Self::read(connection, &row, now).await.map(Some),
            None => Ok(None),
        }
    }

    async fn read(connection: &mut AnyConnection, row: &sqlx::any::AnyRow, now: i64) -> Result<Self, StoreError> {
        let zone = zone(column::<Option<String>>(row, 4)?.as_deref());
        let rows = sqlx::query("SELECT day, xp FROM xp_days WHERE user_id = $1 ORDER BY day")
            .bind(column::<String>(row, 0)?)
            .fetch_all(connection)
            .await?;
        let day = |row| {
            let text: &str = column(row, 0)?;
            let day = text.parse().map_err(|_| StoreError::Corrupt(format!("day {text:?}")))?;
            Ok::<_, StoreError>((day, column(row, 1)?))
        };
        Ok(Self {
            username: column(row, 1)?,
            nickname: column(row, 2)?,
            avatar_url: column(row, 3)?,
            zone,
            today: local_day(zone, now),
            days: rows.iter().map(day).collect::<Result<_, _>>()?,
        })
    }

    fn on(&self, day: NaiveDate) -> i64 {
        self.days.get(&day).copied().unwrap_or(0)
    }

    fn total(&self) -> i64 {
        self.days.values().sum()
    }

    fn streak(&self) -> Streak {
        let days: Vec<NaiveDate> = self.days.keys().copied().collect();
        Streak::of(&days, self.today)
    }
}

impl Service {
    async fn learner(&self, caller: &Principal) -> Result<Learner, StoreError> {
        let mut snapshot = self.0.store.reader().begin().await?;
        let learner = Learner::by_id(&mut snapshot, &caller.user, self.0.clock.now_ms()).await?;
        snapshot.commit().await?;
        Ok(learner)
    }

    /// From when to when the caller has learned, as far as it touches the days from `start` to `end`. A session on a
    /// conversation lasts to its last activity; one of the course counts once it has ended.
    async fn spans(
        &self,
        caller: &Principal,
        start: Option<NaiveDate>,
        end: Option<NaiveDate>,
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let from_ms = start.map_or(i64::MIN, midnight);
        let until_ms = end.map_or(i64::MAX, |end| midnight(end).saturating_add(DAY_MS));
        let rows = sqlx::query(
            "SELECT started_ms, COALESCE(ended_ms, last_activity_ms) FROM conversation_sessions \
             WHERE user_id = $1 AND started_ms < $3 AND COALESCE(ended_ms, last_activity_ms) >= $2 \
             UNION ALL SELECT started_ms, ended_ms FROM xel_sessions \
             WHERE user_id = $1 AND started_ms < $3 AND ended_ms >= $2",
        )
        .bind(&caller.user)
        .bind(from_ms)
        .bind(until_ms)
        .fetch_all(self.0.store.reader())
        .await?;
        rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }
}

/// The first instant of a day, UTC.
fn midnight(day: NaiveDate) -> i64 {
    day.and_time(NaiveTime::MIN).and_utc().timestamp_millis()
}

/// Time by UTC days from `start` to `end`: a session is one of the day that it began on, and its time belongs to the days
/// that it passed on.
fn by_day(spans: &[(i64, i64)], start: Option<NaiveDate>, end: Option<NaiveDate>) -> Vec<DailyLearningTime> {
    let wanted = |day: NaiveDate| start.is_none_or(|start| day >= start) && end.is_none_or(|end| day <= end);
    // Milliseconds until the end, so that what is cut off is cut off once a day and not once a session.
    let mut days: BTreeMap<NaiveDate, (i64, i64)> = BTreeMap::new();
    for &(from_ms, to_ms) in spans {
        let mut at = from_ms;
        loop {
            let day = utc_date(at);
            let until = midnight(day).saturating_add(DAY_MS).min(to_ms).max(at);
            if wanted(day) {
                let entry = days.entry(day).or_default();
                entry.0 += until - at;
                entry.1 += i64::from(at == from_ms);
            }
            if until >= to_ms {
                break;
            }
            at = until;
        }
    }
    days.into_iter()
        .map(|(date, (ms, sessions))| DailyLearningTime { date, seconds: ms / 1000, sessions })
        .filter(|day| day.seconds > 0 || day.sessions > 0)
        .collect()
}

#[allow(clippy::cast_precision_loss)] // Exact up to 2⁵³, which no count of seconds here reaches.
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_millis()
    }

    fn daily(spans: &[(&str, &str)], start: Option<&str>, end: Option<&str>) -> Vec<(String, i64, i64)> {
        let spans: Vec<(i64, i64)> = spans.iter().map(|(from, to)| (at(from), at(to))).collect();
        let day = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let days = by_day(&spans, day(start), day(end));
        days.into_iter().map(|day| (day.date.to_string(), day.seconds, day.sessions)).collect()
    }

    #[test]
    fn time_belongs_to_the_days_that_it_passed_on() {
        let over_midnight = [("2024-02-29T23:50:00Z", "2024-03-01T00:10:00Z")];
        let both = [("2024-02-29".to_owned(), 600, 1), ("2024-03-01".to_owned(), 600, 0)];
        assert_eq!(daily(&over_midnight, None, None), both);
        assert_eq!(daily(&over_midnight, Some("2024-03-01"), None), both[1..]);
        assert_eq!(daily(&over_midnight, None, Some("2024-02-29")), both[..1]);
        assert_eq!(daily(&over_midnight, Some("2024-03-02"), Some("2024-02-01")), []);
    }

    #[test]
    fn a_session_without_length_is_a_session() {
        let now = [("2024-05-01T00:00:00Z", "2024-05-01T00:00:00Z")];
        assert_eq!(daily(&now, None, None), [("2024-05-01".to_owned(), 0, 1)]);
    }

    #[test]
    fn long_sessions_fill_their_days() {
        let days = daily(&[("2023-12-30T12:00:00Z", "2024-01-02T06:00:00Z")], None, None);
        let expected = [
            ("2023-12-30", 43_200, 1),
            ("2023-12-31", 86_400, 0),
            ("2024-01-01", 86_400, 0),
            ("2024-01-02", 21_600, 0),
        ];
        assert_eq!(days, expected.map(|(day, seconds, sessions)| (day.to_owned(), seconds, sessions)));
    }
}
