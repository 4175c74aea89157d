-- Time is counted from beat to beat; `counted_ms` is what the session has taken of its user's allowance.
CREATE TABLE live_sessions (
    id           TEXT PRIMARY KEY NOT NULL,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    session_type TEXT NOT NULL,
    started_ms   BIGINT NOT NULL,
    last_beat_ms BIGINT NOT NULL,
    counted_ms   BIGINT NOT NULL,
    ended_ms     BIGINT
);
CREATE INDEX live_sessions_by_user ON live_sessions (user_id, started_ms);

-- `month` is YYYY-MM, UTC.
CREATE TABLE live_usage (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    month   TEXT NOT NULL,
    used_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, month)
);

CREATE TABLE live_transcripts (
    id         TEXT PRIMARY KEY NOT NULL,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    started_ms BIGINT NOT NULL,
    ended_ms   BIGINT NOT NULL,
    turn_count BIGINT NOT NULL,
    preview    TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX live_transcripts_by_user ON live_transcripts (user_id, created_ms DESC, id);

CREATE TABLE live_transcript_turns (
    transcript_id TEXT NOT NULL REFERENCES live_transcripts (id) ON DELETE CASCADE,
    position      BIGINT NOT NULL,
    role          TEXT NOT NULL,
    text          TEXT NOT NULL,
    spoken_ms     BIGINT NOT NULL,
    PRIMARY KEY (transcript_id, position)
);
