-- Modules and tasks themselves are data of the program; here is what users did with them. `completed_ms` is empty while a
-- completed module is open for revision; `first_completed_ms` stays.
CREATE TABLE xel_modules (
    user_id            TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    module_id          TEXT NOT NULL,
    started_ms         BIGINT NOT NULL,
    completed_ms       BIGINT,
    first_completed_ms BIGINT,
    PRIMARY KEY (user_id, module_id)
);

-- `variant` is the one that is set for the user, from 0.
CREATE TABLE xel_tasks (
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    module_id    TEXT NOT NULL,
    task_id      TEXT NOT NULL,
    skill        TEXT NOT NULL,
    variant      BIGINT NOT NULL,
    best_score   DOUBLE PRECISION,
    submitted_ms BIGINT,
    PRIMARY KEY (user_id, module_id, task_id)
);

CREATE TABLE xel_submissions (
    id                 TEXT PRIMARY KEY NOT NULL,
    user_id            TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    module_id          TEXT NOT NULL,
    task_id            TEXT NOT NULL,
    variant            BIGINT NOT NULL,
    response           TEXT NOT NULL,
    score              DOUBLE PRECISION NOT NULL,
    time_spent_seconds BIGINT,
    created_ms         BIGINT NOT NULL
);
CREATE INDEX xel_submissions_by_user ON xel_submissions (user_id, created_ms);

-- One row for every change of the score; `step` orders those of one instant.
CREATE TABLE xel_xpi (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    step        BIGINT NOT NULL,
    xpi         DOUBLE PRECISION NOT NULL,
    change      DOUBLE PRECISION,
    recorded_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, step)
);

CREATE TABLE xel_sessions (
    id         TEXT PRIMARY KEY NOT NULL,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    module_id  TEXT,
    skill      TEXT,
    started_ms BIGINT NOT NULL,
    ended_ms   BIGINT
);
CREATE INDEX xel_sessions_by_user ON xel_sessions (user_id, started_ms);

CREATE TABLE xel_transcripts (
    id         TEXT PRIMARY KEY NOT NULL,
    session_id TEXT NOT NULL REFERENCES xel_sessions (id) ON DELETE CASCADE,
    position   BIGINT NOT NULL,
    role       TEXT NOT NULL,
    text       TEXT NOT NULL,
    spoken_ms  BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    UNIQUE (session_id, position)
);
