//! What learning adds up to: XP by the user's own days, streaks, levels, daily quests and boosters.
//!
//! An event belongs to the day that it was where the user was. The day is settled when the event happens, so that a user
//! who moves to another time zone keeps the days of before.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Days, NaiveDate};
use chrono_tz::Tz;
use sqlx::AnyConnection;

use crate::platform::store::{StoreError, Write, column};

/// Kinds of events that earn XP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A question to the tutor that was answered within a conversation.
    Message,
    /// A note.
    Note,
    /// Minutes of a session, on a conversation or in the course.
    Minutes,
    /// A task's answer.
    Task,
    /// A completed module.
    Module,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Note => "note",
            Self::Minutes => "minutes",
            Self::Task => "task",
            Self::Module => "module",
        }
    }

    /// Events of a day that earn anything. What costs the user nothing must not be worth repeating for its own sake.
    fn a_day(self) -> Option<i64> {
        match self {
            Self::Message => Some(30),
            Self::Note => Some(5),
            Self::Minutes | Self::Task | Self::Module => None,
        }
    }
}

/// The kind of the events that quests make.
const QUEST: &str = "quest";

/// XP of an answered question.
pub(super) const MESSAGE_XP: i64 = 1;

/// XP of a note.
pub(super) const NOTE_XP: i64 = 2;

/// Minutes of one session that earn XP, one each.
pub(super) const SESSION_MINUTES: i64 = 60;

/// Something done that earns XP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed<'a> {
    pub(super) kind: Kind,
    /// What it was done to. The same kind with the same reference earns once.
    pub(super) reference: &'a str,
    /// XP before any booster.
    pub(super) xp: i64,
    /// How much of it: minutes, or 1.
    pub(super) quantity: i64,
}

/// Days that a streak saver covers, at most, before more have to be earned.
const MOST_SAVERS: i32 = 2;

/// Days in a row that bring a streak saver.
const SAVER_EVERY: i32 = 7;

/// How days of learning hang together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    pub(super) current: i32,
    pub(super) longest: i32,
    pub(super) savers: i32,
    pub(super) savers_used: i32,
    pub(super) last_activity: Option<NaiveDate>,
    pub(super) at_risk: bool,
    /// Missed days that a saver covered, in order.
    pub(super) covered: Vec<NaiveDate>,
}

impl Streak {
    /// The streak as of `today`, from the days with XP in their order.
    pub(super) fn of(days: &[NaiveDate], today: NaiveDate) -> Self {
        let mut streak = Self::default();
        for &day in days {
            let missed = streak.missed_before(day);
            if streak.last_activity.is_some() && streak.cover(missed) {
                streak.current += 1;
            } else {
                streak.current = 1;
            }
            if streak.current % SAVER_EVERY == 0 {
                streak.savers = (streak.savers + 1).min(MOST_SAVERS);
            }
            streak.longest = streak.longest.max(streak.current);
            streak.last_activity = Some(day);
        }
        // Today can still be made up for; the days between the last one and today cannot.
        let missed = streak.missed_before(today);
        if streak.current > 0 && !streak.cover(missed) {
            streak.current = 0;
        }
        let learnt_today = streak.last_activity.is_some_and(|last| last >= today);
        streak.at_risk = streak.current > 0 && !learnt_today && streak.savers == 0;
        streak
    }

    /// Days between the last one with XP and `day`.
    fn missed_before(&self, day: NaiveDate) -> i64 {
        self.last_activity.map_or(0, |last| (day - last).num_days() - 1).max(0)
    }

    /// Takes a saver for each missed day; false, and nothing taken, if there are too few.
    fn cover(&mut self, missed: i64) -> bool {
        let Some(needed) = i32::try_from(missed).ok().filter(|needed| *needed <= self.savers) else { return false };
        self.savers -= needed;
        self.savers_used += needed;
        let from = self.last_activity;
        let days = (1..=missed.unsigned_abs()).filter_map(|day| from?.checked_add_days(Days::new(day)));
        self.covered.extend(days);
        true
    }
}

/// XP that level `level` begins with: 0, 100, 300, 600, … Each level takes 100 more than the one before.
fn level_begins(level: i64) -> i64 {
    50 * level * (level - 1)
}

/// The level that so many XP make, from 1, and the XP that the next one still takes.
pub(super) fn level(xp: i64) -> (i32, i64) {
    let mut level = 1;
    while level < i64::from(i32::MAX) && level_begins(level + 1) <= xp {
        level += 1;
    }
    (i32::try_from(level).unwrap_or(i32::MAX), level_begins(level + 1) - xp)
}

/// How strongly a day is coloured: 0 without XP, then 1 to 4.
pub(super) fn intensity(xp: i64) -> i32 {
    match xp {
        ..=0 => 0,
        1..=19 => 1,
        20..=49 => 2,
        50..=99 => 3,
        _ => 4,
    }
}

/// The time zone of that IANA name; UTC for a user who has none, or one that nobody knows.
pub(super) fn zone(name: Option<&str>) -> Tz {
    name.and_then(|name| name.parse().ok()).unwrap_or(Tz::UTC)
}

/// The day that it is in a time zone.
pub(super) fn local_day(zone: Tz, ms: i64) -> NaiveDate {
    DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::UNIX_EPOCH).with_timezone(&zone).date_naive()
}

/// The Sunday on or before a day.
pub(super) fn week_start(day: NaiveDate) -> NaiveDate {
    back(day, u64::from(day.weekday().num_days_from_sunday()))
}

/// So many days earlier.
pub(super) fn back(day: NaiveDate, days: u64) -> NaiveDate {
    day.checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN)
}

/// So many days later.
pub(super) fn on(day: NaiveDate, days: u64) -> NaiveDate {
    day.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
}

/// Something to do within a day.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quest {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) target: i64,
    pub(super) xp: i64,
    /// What is counted; none counts the day's XP.
    counts: Option<Kind>,
}

const QUESTS: [Quest; 5] = [
    Quest {
        id: "xp-30",
        title: "Earn 30 XP",
        description: "Whatever you learn counts, rewards of quests aside.",
        target: 30,
        xp: 10,
        counts: None,
    },
    Quest {
        id: "tasks-2",
        title: "Submit two tasks",
        description: "Answer two tasks of the English course.",
        target: 2,
        xp: 15,
        counts: Some(Kind::Task),
    },
    Quest {
        id: "messages-3",
        title: "Ask three questions",
        description: "Ask the tutor three questions within conversations.",
        target: 3,
        xp: 10,
        counts: Some(Kind::Message),
    },
    Quest {
        id: "minutes-10",
        title: "Learn for ten minutes",
        description: "Spend ten minutes in learning sessions.",
        target: 10,
        xp: 15,
        counts: Some(Kind::Minutes),
    },
    Quest {
        id: "note-1",
        title: "Write a note",
        description: "Write down something that you want to remember.",
        target: 1,
        xp: 5,
        counts: Some(Kind::Note),
    },
];

/// Quests a day.
const A_DAY: usize = 3;

/// Tokens that a completed quest brings.
const QUEST_TOKENS: i64 = 5;

/// What XP are multiplied by once all quests of a day are completed, in percent, and for how long.
const BOOST_PERCENT: i64 = 150;
const BOOST_MS: i64 = 60 * 60 * 1000;

/// The quests of a day: the same for everybody, others the next day.
pub(super) fn quests(day: NaiveDate) -> [&'static Quest; A_DAY] {
    let first = usize::try_from(day.num_days_from_ce().rem_euclid(5)).unwrap_or(0);
    // Steps of 1 and 2 around a ring of five never meet the same quest twice.
    [0, 1, 3].map(|step| &QUESTS[(first + step) % QUESTS.len()])
}

/// What was done on a day, by the kind of the deed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    quantities: BTreeMap<String, i64>,
    counts: BTreeMap<String, i64>,
    xp: i64,
}

impl Done {
    /// How far a quest is; may be beyond its target.
    pub(super) fn progress(&self, quest: &Quest) -> i64 {
        match quest.counts {
            None => self.xp,
            Some(kind) => self.quantities.get(kind.as_str()).copied().unwrap_or(0),
        }
    }

    /// Reads what a user did on a day.
    pub(super) async fn read(connection: &mut AnyConnection, user: &str, day: NaiveDate) -> Result<Self, StoreError> {
        let rows = sqlx::query(
            "SELECT kind, COUNT(*), CAST(SUM(quantity) AS BIGINT), CAST(SUM(xp) AS BIGINT) FROM xp_events \
             WHERE user_id = $1 AND day = $2 GROUP BY kind",
        )
        .bind(user)
        .bind(day.to_string())
        .fetch_all(connection)
        .await?;
        let mut done = Self::default();
        for row in &rows {
            let kind: String = column(row, 0)?;
            if kind != QUEST {
                done.xp += column::<i64>(row, 3)?;
            }
            done.counts.insert(kind.clone(), column(row, 1)?);
            done.quantities.insert(kind, column(row, 2)?);
        }
        Ok(done)
    }
}

/// Writes a deed down and gives the XP that it earned, within the write operation in progress. Quests that it completes
/// are rewarded at once; when they all are, a booster begins.
pub(super) async fn earn(write: &mut Write, user: &str, deed: Deed<'_>, now: i64) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "SELECT u.timezone, COALESCE(b.percent, 100) FROM users AS u \
         LEFT JOIN xp_boosters AS b ON b.user_id = u.id AND b.ends_ms > $2 WHERE u.id = $1",
    )
    .bind(user)
    .bind(now)
    .fetch_optional(write.run())
    .await?;
    let Some(row) = row else { return Ok(0) };
    let day = local_day(zone(column::<Option<String>>(&row, 0)?.as_deref()), now);
    let percent: i64 = column(&row, 1)?;

    let before = Done::read(write.run(), user, day).await?;
    let worn_out =
        deed.kind.a_day().is_some_and(|most| before.counts.get(deed.kind.as_str()).is_some_and(|n| *n >= most));
    let xp = if worn_out { 0 } else { deed.xp * percent / 100 };
    let event = Event { kind: deed.kind.as_str(), reference: deed.reference, quantity: deed.quantity, xp };
    if !insert(write, user, day, &event, now).await? {
        return Ok(0);
    }

    let after = Done::read(write.run(), user, day).await?;
    let today = quests(day);
    let done = |done: &Done, quest: &Quest| done.progress(quest) >= quest.target;
    for quest in today.iter().filter(|quest| done(&after, quest) && !done(&before, quest)) {
        let reference = format!("{day} {}", quest.id);
        let reward = Event { kind: QUEST, reference: &reference, quantity: 1, xp: quest.xp };
        if insert(write, user, day, &reward, now).await? {
            sqlx::query(
                "INSERT INTO xp_wallets (user_id, tokens) VALUES ($1, $2) \
                 ON CONFLICT (user_id) DO UPDATE SET tokens = xp_wallets.tokens + excluded.tokens",
            )
            .bind(user)
            .bind(QUEST_TOKENS)
            .execute(write.run())
            .await?;
        }
    }
    let all = |of: &Done| today.iter().all(|quest| done(of, quest));
    if all(&after) && !all(&before) {
        sqlx::query(
            "INSERT INTO xp_boosters (user_id, percent, ends_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (user_id) DO UPDATE SET percent = excluded.percent, ends_ms = excluded.ends_ms",
        )
        .bind(user)
        .bind(BOOST_PERCENT)
        .bind(now + BOOST_MS)
        .execute(write.run())
        .await?;
    }
    Ok(xp)
}

struct Event<'a> {
    kind: &'static str,
    reference: &'a str,
    quantity: i64,
    xp: i64,
}

/// False if the event is there already.
async fn insert(
    write: &mut Write,
    user: &str,
    day: NaiveDate,
    event: &Event<'_>,
    now: i64,
) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO xp_events (user_id, kind, reference, day, quantity, xp, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id, kind, reference) DO NOTHING",
    )
    .bind(user)
    .bind(event.kind)
    .bind(event.reference)
    .bind(day.to_string())
    .bind(event.quantity)
    .bind(event.xp)
    .bind(now)
    .execute(write.run())
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    // A day without XP is no day of learning.
    if event.xp > 0 {
        sqlx::query(
            "INSERT INTO xp_days (user_id, day, xp) VALUES ($1, $2, $3) \
             ON CONFLICT (user_id, day) DO UPDATE SET xp = xp_days.xp + excluded.xp",
        )
        .bind(user)
        .bind(day.to_string())
        .bind(event.xp)
        .execute(write.run())
        .await?;
    }
    Ok(true)
}

/// XP of a session of that length.
pub(super) fn minutes(duration_ms: i64) -> i64 {
    (duration_ms / 60_000).clamp(0, SESSION_MINUTES)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn row(first: &str, count: u64) -> Vec<NaiveDate> {
        (0..count).map(|n| on(day(first), n)).collect()
    }

    #[test]
    fn a_streak_lasts_until_a_day_is_missed() {
        assert_eq!(Streak::of(&[], day("2024-03-01")), Streak::default());
        // Over a leap day and a month's end.
        let days = row("2024-02-27", 4);
        assert_eq!(days.last(), Some(&day("2024-03-01")));
        let today = Streak::of(&days, day("2024-03-01"));
        assert_eq!((today.current, today.longest, today.at_risk), (4, 4, false));
        let tomorrow = Streak::of(&days, day("2024-03-02"));
        assert_eq!((tomorrow.current, tomorrow.longest, tomorrow.at_risk), (4, 4, true));
        let later = Streak::of(&days, day("2024-03-03"));
        assert_eq!((later.current, later.longest, later.at_risk), (0, 4, false));
        assert_eq!(later.last_activity, Some(day("2024-03-01")));
    }

    #[test]
    fn a_saver_covers_a_missed_day_once() {
        let mut days = row("2023-12-25", 7);
        let eighth = Streak::of(&days, day("2024-01-01"));
        assert_eq!((eighth.current, eighth.savers, eighth.at_risk), (7, 1, false), "a saver stands by");
        let ninth = Streak::of(&days, day("2024-01-02"));
        assert_eq!((ninth.current, ninth.savers, ninth.savers_used, ninth.at_risk), (7, 0, 1, true));
        assert_eq!(ninth.covered, [day("2024-01-01")]);
        assert_eq!(Streak::of(&days, day("2024-01-03")).current, 0);
        days.push(day("2024-01-02"));
        let on = Streak::of(&days, day("2024-01-02"));
        assert_eq!((on.current, on.longest, on.savers_used), (8, 8, 1), "a covered day is not a day of learning");
        days.push(day("2024-01-04"));
        assert_eq!(Streak::of(&days, day("2024-01-04")).current, 1);
    }

    #[test]
    fn savers_do_not_pile_up() {
        let days = row("2024-01-01", 35);
        let streak = Streak::of(&days, day("2024-02-04"));
        assert_eq!((streak.current, streak.savers), (35, 2));
        assert_eq!(Streak::of(&days, day("2024-02-07")).savers_used, 2, "two days are covered");
        let broken = Streak::of(&days, day("2024-02-08"));
        assert_eq!((broken.current, broken.savers, broken.savers_used), (0, 2, 0), "three are too many, and cost none");
    }

    #[test]
    fn a_day_ahead_of_today_is_no_gap() {
        let streak = Streak::of(&row("2024-05-01", 3), day("2024-05-02"));
        assert_eq!((streak.current, streak.at_risk), (3, false));
    }

    #[test]
    fn levels_grow_by_a_hundred_each() {
        for (xp, expected) in
            [(0, (1, 100)), (99, (1, 1)), (100, (2, 200)), (277, (2, 23)), (300, (3, 300)), (600, (4, 400))]
        {
            assert_eq!(level(xp), expected, "{xp}");
        }
        assert_eq!([0, 1, 19, 20, 50, 100, i64::MAX].map(intensity), [0, 1, 1, 2, 3, 4, 4]);
    }

    #[test]
    fn days_are_those_of_the_place() {
        // 2024-03-31T23:30:00Z
        let ms = 1_711_927_800_000;
        let at = |name| local_day(zone(Some(name)), ms).to_string();
        assert_eq!(at("UTC"), "2024-03-31");
        assert_eq!(at("Asia/Jakarta"), "2024-04-01");
        assert_eq!(at("America/Los_Angeles"), "2024-03-31");
        assert_eq!(at("Pacific/Kiritimati"), "2024-04-01");
        assert_eq!(at("no/where"), "2024-03-31");
        // Summer time began that night in Berlin: the day has 23 hours, and is one day.
        assert_eq!(at("Europe/Berlin"), "2024-04-01");
        assert_eq!(local_day(zone(Some("Europe/Berlin")), ms - 23 * 3_600_000 - 1_800_000).to_string(), "2024-03-31");
        // Apia had no 2011-12-30 at all.
        let before = 1_325_239_199_000;
        assert_eq!(local_day(zone(Some("Pacific/Apia")), before).to_string(), "2011-12-29");
        assert_eq!(local_day(zone(Some("Pacific/Apia")), before + 1_000).to_string(), "2011-12-31");
    }

    #[test]
    fn weeks_begin_on_sunday() {
        for (at, start) in [
            ("2024-03-31", "2024-03-31"),
            ("2024-04-06", "2024-03-31"),
            ("2024-03-01", "2024-02-25"),
            ("2023-01-01", "2023-01-01"),
        ] {
            assert_eq!(week_start(day(at)), day(start), "{at}");
        }
    }

    #[test]
    fn every_day_has_three_different_quests_and_the_next_day_others() {
        for n in 0..400 {
            let day = on(day("2024-01-01"), n);
            let ids = quests(day).map(|quest| quest.id);
            assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{day}: {ids:?}");
            assert_ne!(ids, quests(on(day, 1)).map(|quest| quest.id));
        }
    }

    #[test]
    fn a_session_earns_by_whole_minutes_up_to_an_hour() {
        assert_eq!([0, 59_999, 60_000, 300_000, 7_200_000, -5].map(minutes), [0, 0, 1, 5, 60, 0]);
    }
}
