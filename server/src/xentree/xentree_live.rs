//! Xentree Live — documentation section "Xentree Live": spoken sessions on a monthly allowance, and their transcripts.
//!
//! Time is counted from beat to beat, in the calendar months (UTC) that it passed in. An allowance is never overdrawn: of a
//! beat that goes beyond it, what there was is counted.

use contract_xentree::problems::LiveQuotaExceeded;
use contract_xentree::server::{
    EndLiveSessionError, EndLiveSessionRequest, EndLiveSessionResponse, GetLiveQuotaError, GetLiveQuotaRequest,
    GetLiveQuotaResponse, GetLiveTranscriptError, GetLiveTranscriptRequest, GetLiveTranscriptResponse,
    HeartbeatLiveSessionError, HeartbeatLiveSessionRequest, HeartbeatLiveSessionResponse, ListLiveTranscriptsError,
    ListLiveTranscriptsRequest, ListLiveTranscriptsResponse, SaveLiveTranscriptsError, SaveLiveTranscriptsRequest,
    SaveLiveTranscriptsResponse, StartLiveSessionError, StartLiveSessionRequest, StartLiveSessionResponse,
    UpdateLiveNicknameError, UpdateLiveNicknameRequest, UpdateLiveNicknameResponse, XentreeLive,
};
use contract_xentree::types::{
    LiveNicknameResponse, LiveQuotaResponse, LiveSessionEndResponse, LiveSessionEndResponseStatus,
    LiveSessionHeartbeatResponse, LiveSessionResponse, LiveSessionStatus, LiveTranscriptDetailResponse,
    LiveTranscriptListItem, LiveTranscriptListResponse, LiveTranscriptSaveResponse, TranscriptTurn,
};
use sqlx::AnyConnection;

use super::Service;
use super::access::{Principal, internal, new_id, not_found, page, word};
use super::wire::{count, nullable, seconds_between, shorten};
use crate::platform::clock::{to_datetime, utc_month};
use crate::platform::store::{StoreError, Write, column};

/// Seconds from beat to beat.
const BEAT_S: i64 = 15;

/// A session without a beat for so long has ended with its last one.
const SILENT_MS: i64 = 5 * 60 * 1000;

/// Where sessions are held.
const SOCKET: &str = "wss://orchstr.xentree.com";

/// Characters of a transcript's preview.
const PREVIEW: usize = 120;

/// Turns that one statement writes.
const TURNS_PER_STATEMENT: usize = 100;

impl XentreeLive for Service {
    type Principal = Principal;

    async fn get_live_quota(
        &self,
        caller: &Principal,
        _: GetLiveQuotaRequest,
    ) -> Result<GetLiveQuotaResponse, GetLiveQuotaError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let allowance = self.allowance(&mut connection, &caller.user, self.0.clock.now_ms()).await.map_err(internal)?;
        Ok(GetLiveQuotaResponse::Ok(LiveQuotaResponse {
            limit_seconds: allowance.limit_ms / 1000,
            used_seconds: allowance.used_seconds(),
            remaining_seconds: allowance.left_seconds(),
            period_start: to_datetime(allowance.starts_ms),
            period_end: to_datetime(allowance.ends_ms),
            is_exceeded: allowance.left_ms() == 0,
            plan: allowance.plan,
        }))
    }

    async fn start_live_session(
        &self,
        caller: &Principal,
        request: StartLiveSessionRequest,
    ) -> Result<StartLiveSessionResponse, StartLiveSessionError> {
        let (id, now) = (new_id("ses").map_err(internal)?, self.0.clock.now_ms());
        let mut write = self.0.store.write().await.map_err(internal)?;
        let allowance = self.allowance(write.run(), &caller.user, now).await.map_err(internal)?;
        if allowance.left_ms() == 0 {
            return Err(exceeded().into());
        }
        sqlx::query(
            "INSERT INTO live_sessions (id, user_id, session_type, started_ms, last_beat_ms, counted_ms, ended_ms) \
             VALUES ($1, $2, $3, $4, $5, 0, NULL)",
        )
        .bind(&id)
        .bind(&caller.user)
        .bind(request.body.session_type.as_str())
        .bind(now)
        .bind(now)
        .execute(write.run())
        .await
        .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(StartLiveSessionResponse::Ok(LiveSessionResponse {
            session_id: id,
            session_type: request.body.session_type,
            status: LiveSessionStatus::Active,
            started_at: to_datetime(now),
            remaining_seconds: allowance.left_seconds(),
            heartbeat_interval_seconds: Some(BEAT_S),
            socket_url: nullable(Some(SOCKET.to_owned())),
        }))
    }

    async fn heartbeat_live_session(
        &self,
        caller: &Principal,
        request: HeartbeatLiveSessionRequest,
    ) -> Result<HeartbeatLiveSessionResponse, HeartbeatLiveSessionError> {
        let now = self.0.clock.now_ms();
        let mut write = self.0.store.write().await.map_err(internal)?;
        let session = active(&mut write, &caller.user, &request.body.session_id, now).await.map_err(internal)?;
        let Some(session) = session else {
            // What fell silent was closed just now, and stays closed.
            write.commit().await.map_err(internal)?;
            return Err(not_found("Live session not found").into());
        };
        let overdrawn = self.count(&mut write, &caller.user, &session, now).await.map_err(internal)?;
        let allowance = self.allowance(write.run(), &caller.user, now).await.map_err(internal)?;
        // What there was is counted, whatever the answer.
        write.commit().await.map_err(internal)?;
        if overdrawn || allowance.used_ms > allowance.limit_ms || allowance.limit_ms == 0 {
            return Err(exceeded().into());
        }
        Ok(HeartbeatLiveSessionResponse::Ok(LiveSessionHeartbeatResponse {
            session_id: session.id,
            status: LiveSessionStatus::Active,
            used_seconds: allowance.used_seconds(),
            remaining_seconds: allowance.left_seconds(),
            should_end: allowance.left_ms() == 0,
        }))
    }

    async fn end_live_session(
        &self,
        caller: &Principal,
        request: EndLiveSessionRequest,
    ) -> Result<EndLiveSessionResponse, EndLiveSessionError> {
        let now = self.0.clock.now_ms();
        let mut write = self.0.store.write().await.map_err(internal)?;
        let session = active(&mut write, &caller.user, &request.body.session_id, now).await.map_err(internal)?;
        let Some(session) = session else {
            write.commit().await.map_err(internal)?;
            return Err(not_found("Live session not found").into());
        };
        self.count(&mut write, &caller.user, &session, now).await.map_err(internal)?;
        close(&mut write, &session.id, now).await.map_err(internal)?;
        let allowance = self.allowance(write.run(), &caller.user, now).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(EndLiveSessionResponse::Ok(LiveSessionEndResponse {
            session_id: session.id,
            status: LiveSessionEndResponseStatus::Ended,
            started_at: to_datetime(session.started_ms),
            ended_at: to_datetime(now),
            duration_seconds: seconds_between(session.started_ms, now),
            remaining_seconds: allowance.left_seconds(),
        }))
    }

    async fn update_live_nickname(
        &self,
        caller: &Principal,
        request: UpdateLiveNicknameRequest,
    ) -> Result<UpdateLiveNicknameResponse, UpdateLiveNicknameError> {
        let nickname = request.body.nickname;
        let mut write = self.0.store.write().await.map_err(internal)?;
        sqlx::query("UPDATE users SET nickname = $1 WHERE id = $2")
            .bind(&nickname)
            .bind(&caller.user)
            .execute(write.run())
            .await
            .map_err(internal)?;
        write.commit().await.map_err(internal)?;
        let message = nullable(Some("Nickname updated".to_owned()));
        Ok(UpdateLiveNicknameResponse::Ok(LiveNicknameResponse { nickname, message }))
    }

    async fn list_live_transcripts(
        &self,
        caller: &Principal,
        request: ListLiveTranscriptsRequest,
    ) -> Result<ListLiveTranscriptsResponse, ListLiveTranscriptsError> {
        let (limit, offset) = page(request.page, request.limit);
        // One snapshot: a transcript that is saved between the two reads would make the total wrong.
        let mut snapshot = self.0.store.reader().begin().await.map_err(internal)?;
        let total = sqlx::query("SELECT COUNT(*) FROM live_transcripts WHERE user_id = $1")
            .bind(&caller.user)
            .fetch_one(&mut *snapshot)
            .await
            .map_err(internal)?;
        let rows = sqlx::query(
            "SELECT id, started_ms, ended_ms, turn_count, preview, created_ms FROM live_transcripts \
             WHERE user_id = $1 ORDER BY created_ms DESC, id LIMIT $2 OFFSET $3",
        )
        .bind(&caller.user)
        .bind(limit)
        .bind(offset)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(internal)?;
        snapshot.commit().await.map_err(internal)?;
        let item = |row| {
            let (started_ms, ended_ms) = (column(row, 1)?, column(row, 2)?);
            Ok::<_, StoreError>(LiveTranscriptListItem {
                id: column(row, 0)?,
                session_started_at: to_datetime(started_ms),
                session_ended_at: to_datetime(ended_ms),
                duration_seconds: seconds_between(started_ms, ended_ms),
                turn_count: column(row, 3)?,
                preview: nullable(Some(column(row, 4)?)),
                created_at: to_datetime(column(row, 5)?),
            })
        };
        Ok(ListLiveTranscriptsResponse::Ok(LiveTranscriptListResponse {
            transcripts: rows.iter().map(item).collect::<Result<_, _>>().map_err(internal)?,
            total: column(&total, 0).map_err(internal)?,
            page: request.page,
            limit: request.limit,
        }))
    }

    async fn save_live_transcripts(
        &self,
        caller: &Principal,
        request: SaveLiveTranscriptsRequest,
    ) -> Result<SaveLiveTranscriptsResponse, SaveLiveTranscriptsError> {
        let (id, now, saved) = (new_id("trn").map_err(internal)?, self.0.clock.now_ms(), request.body);
        let started_ms = saved.session_started_at.timestamp_millis();
        let ended_ms = saved.session_ended_at.timestamp_millis().max(started_ms);
        let preview = saved.transcripts.first().map_or_else(String::new, |turn| shorten(turn.text.trim(), PREVIEW));
        let mut write = self.0.store.write().await.map_err(internal)?;
        sqlx::query(
            "INSERT INTO live_transcripts (id, user_id, started_ms, ended_ms, turn_count, preview, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&id)
        .bind(&caller.user)
        .bind(started_ms)
        .bind(ended_ms)
        .bind(count(saved.transcripts.len()))
        .bind(preview)
        .bind(now)
        .execute(write.run())
        .await
        .map_err(internal)?;
        insert_turns(&mut write, &id, &saved.transcripts).await.map_err(internal)?;
        write.commit().await.map_err(internal)?;
        Ok(SaveLiveTranscriptsResponse::Created(LiveTranscriptSaveResponse {
            id,
            turn_count: count(saved.transcripts.len()),
            duration_seconds: seconds_between(started_ms, ended_ms),
            created_at: to_datetime(now),
        }))
    }

    async fn get_live_transcript(
        &self,
        caller: &Principal,
        request: GetLiveTranscriptRequest,
    ) -> Result<GetLiveTranscriptResponse, GetLiveTranscriptError> {
        let mut connection = self.0.store.reader().acquire().await.map_err(internal)?;
        let row = sqlx::query(
            "SELECT id, started_ms, ended_ms, created_ms FROM live_transcripts WHERE id = $1 AND user_id = $2",
        )
        .bind(&request.transcript_id)
        .bind(&caller.user)
        .fetch_optional(&mut *connection)
        .await
        .map_err(internal)?
        .ok_or_else(|| not_found("Transcript not found"))?;
        let turns = sqlx::query(
            "SELECT role, text, spoken_ms FROM live_transcript_turns WHERE transcript_id = $1 ORDER BY position",
        )
        .bind(&request.transcript_id)
        .fetch_all(&mut *connection)
        .await
        .map_err(internal)?;
        let turn = |row| {
            Ok::<_, StoreError>(TranscriptTurn {
                role: word(column(row, 0)?)?,
                text: column(row, 1)?,
                timestamp: to_datetime(column(row, 2)?),
            })
        };
        let (started_ms, ended_ms) = (column(&row, 1).map_err(internal)?, column(&row, 2).map_err(internal)?);
        Ok(GetLiveTranscriptResponse::Ok(LiveTranscriptDetailResponse {
            id: request.transcript_id,
            session_started_at: to_datetime(started_ms),
            session_ended_at: to_datetime(ended_ms),
            duration_seconds: seconds_between(started_ms, ended_ms),
            transcripts: turns.iter().map(turn).collect::<Result<_, _>>().map_err(internal)?,
            created_at: to_datetime(column(&row, 3).map_err(internal)?),
        }))
    }
}

fn exceeded() -> LiveQuotaExceeded {
    LiveQuotaExceeded::because("Monthly Live session quota exceeded")
}

/// A user's allowance in a month.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowance {
    plan: String,
    limit_ms: i64,
    used_ms: i64,
    starts_ms: i64,
    ends_ms: i64,
}

impl Allowance {
    fn left_ms(&self) -> i64 {
        (self.limit_ms - self.used_ms).max(0)
    }

    fn used_seconds(&self) -> i64 {
        self.used_ms / 1000
    }

    /// Whole seconds, so that used and remaining always add up to the limit.
    fn left_seconds(&self) -> i64 {
        (self.limit_ms / 1000 - self.used_seconds()).max(0)
    }
}

/// A session that is active.
#[derive(Clone, Debug)]
struct Session {
    id: String,
    started_ms: i64,
    last_beat_ms: i64,
}

impl Service {
    /// The user's allowance in the month that holds `now`.
    async fn allowance(&self, connection: &mut AnyConnection, user: &str, now: i64) -> Result<Allowance, StoreError> {
        let (month, ends_ms) = utc_month(now);
        let row = sqlx::query(
            "SELECT u.plan, COALESCE(l.used_ms, 0) FROM users AS u \
             LEFT JOIN live_usage AS l ON l.user_id = u.id AND l.month = $2 WHERE u.id = $1",
        )
        .bind(user)
        .bind(&month)
        .fetch_one(connection)
        .await?;
        let plan: String = column(&row, 0)?;
        Ok(Allowance {
            limit_ms: self.limit_ms(&plan),
            used_ms: column(&row, 1)?,
            starts_ms: month_start(now),
            ends_ms,
            plan,
        })
    }

    /// What a plan allows a month. A plan that is not known allows nothing.
    fn limit_ms(&self, plan: &str) -> i64 {
        let seconds = self.0.live_allowances.get(plan).copied().unwrap_or(0);
        i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
    }

    /// Counts the time of a session since its last beat, in the months that it passed in, as far as the allowance of each
    /// goes. True if it went beyond that of the last one.
    async fn count(&self, write: &mut Write, user: &str, session: &Session, now: i64) -> Result<bool, StoreError> {
        let mut overdrawn = false;
        let mut counted = 0;
        for (at, length) in by_month(session.last_beat_ms, now) {
            let allowance = self.allowance(write.run(), user, at).await?;
            let takes = length.min(allowance.left_ms());
            overdrawn = takes < length;
            counted += takes;
            sqlx::query(
                "INSERT INTO live_usage (user_id, month, used_ms) VALUES ($1, $2, $3) \
                 ON CONFLICT (user_id, month) DO UPDATE SET used_ms = live_usage.used_ms + excluded.used_ms",
            )
            .bind(user)
            .bind(utc_month(at).0)
            .bind(takes)
            .execute(write.run())
            .await?;
        }
        sqlx::query("UPDATE live_sessions SET last_beat_ms = $1, counted_ms = counted_ms + $2 WHERE id = $3")
            .bind(now.max(session.last_beat_ms))
            .bind(counted)
            .bind(&session.id)
            .execute(write.run())
            .await?;
        Ok(overdrawn)
    }
}

/// The active session of the user; one that fell silent is closed on the way.
async fn active(write: &mut Write, user: &str, session: &str, now: i64) -> Result<Option<Session>, StoreError> {
    let row = sqlx::query(
        "SELECT id, started_ms, last_beat_ms FROM live_sessions WHERE id = $1 AND user_id = $2 AND ended_ms IS NULL",
    )
    .bind(session)
    .bind(user)
    .fetch_optional(write.run())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let session = Session { id: column(&row, 0)?, started_ms: column(&row, 1)?, last_beat_ms: column(&row, 2)? };
    if now - session.last_beat_ms < SILENT_MS {
        return Ok(Some(session));
    }
    close(write, &session.id, session.last_beat_ms).await?;
    Ok(None)
}

async fn close(write: &mut Write, session: &str, at_ms: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE live_sessions SET ended_ms = $1 WHERE id = $2")
        .bind(at_ms)
        .bind(session)
        .execute(write.run())
        .await?;
    Ok(())
}

async fn insert_turns(write: &mut Write, transcript: &str, turns: &[TranscriptTurn]) -> Result<(), StoreError> {
    for (part, turns) in turns.chunks(TURNS_PER_STATEMENT).enumerate() {
        let rows: Vec<String> = (0..turns.len())
            .map(|n| {
                let first = n * 5;
                format!("(${}, ${}, ${}, ${}, ${})", first + 1, first + 2, first + 3, first + 4, first + 5)
            })
            .collect();
        let sql = format!(
            "INSERT INTO live_transcript_turns (transcript_id, position, role, text, spoken_ms) VALUES {}",
            rows.join(", ")
        );
        let mut statement = sqlx::query(sqlx::AssertSqlSafe(sql));
        for (n, turn) in turns.iter().enumerate() {
            statement = statement
                .bind(transcript)
                .bind(count(part * TURNS_PER_STATEMENT + n))
                .bind(turn.role.as_str())
                .bind(turn.text.as_str())
                .bind(turn.timestamp.timestamp_millis());
        }
        statement.execute(write.run()).await?;
    }
    Ok(())
}

/// The beginning of the month that holds an instant.
fn month_start(ms: i64) -> i64 {
    use chrono::Datelike as _;
    let day = crate::platform::clock::utc_date(ms);
    day.with_day(1).and_then(|day| day.and_hms_opt(0, 0, 0)).map_or(0, |start| start.and_utc().timestamp_millis())
}

/// A span of time cut at the ends of months: an instant in each month, and the time that passed in it.
fn by_month(from_ms: i64, to_ms: i64) -> Vec<(i64, i64)> {
    let mut parts = Vec::new();
    let mut at = from_ms;
    while at < to_ms {
        let until = utc_month(at).1.min(to_ms);
        parts.push((at, until - at));
        at = until;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAY: i64 = 1_714_521_600_000;

    #[test]
    fn time_counts_in_the_month_that_it_passed_in() {
        assert_eq!(by_month(MAY - 10_000, MAY + 5_000), [(MAY - 10_000, 10_000), (MAY, 5_000)]);
        assert_eq!(by_month(MAY, MAY + 1), [(MAY, 1)]);
        assert_eq!(by_month(MAY, MAY), []);
        assert_eq!(by_month(MAY, MAY - 1), [], "a clock that was put back counts nothing");
        let leap = 1_709_164_800_000; // 2024-02-29
        assert_eq!(by_month(leap, leap + 90_000_000), [(leap, 86_400_000), (leap + 86_400_000, 3_600_000)]);
        let months: i64 = by_month(MAY - 400 * 86_400_000, MAY).iter().map(|(_, length)| length).sum();
        assert_eq!(months, 400 * 86_400_000);
    }

    #[test]
    fn months_begin_on_their_first_day() {
        assert_eq!(month_start(MAY), MAY);
        assert_eq!(month_start(MAY - 1), MAY - 30 * 86_400_000);
        assert_eq!(utc_month(MAY - 1).1, MAY);
    }

    #[test]
    fn used_and_left_add_up() {
        let allowance =
            |used_ms| Allowance { plan: "free".into(), limit_ms: 10_000, used_ms, starts_ms: 0, ends_ms: 1 };
        for used in [0, 1, 999, 1_000, 9_999, 10_000] {
            let allowance = allowance(used);
            assert_eq!(allowance.used_seconds() + allowance.left_seconds(), 10, "{used}");
        }
        assert_eq!((allowance(9_999).left_ms(), allowance(20_000).left_ms()), (1, 0));
    }
}
