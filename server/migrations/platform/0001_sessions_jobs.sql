-- A login. Both tokens of the login name it, so ending it ends them.
CREATE TABLE sessions (
    id          TEXT PRIMARY KEY NOT NULL,
    subject     TEXT NOT NULL,
    created_ms  BIGINT NOT NULL,
    expires_ms  BIGINT NOT NULL,
    revoked_ms  BIGINT
);
CREATE INDEX sessions_by_expiry ON sessions (expires_ms);

-- Work that a background worker has to do, kept until it is done. A row that is `running` when the server starts was
-- left by a crash and is taken up again.
CREATE TABLE jobs (
    id            TEXT PRIMARY KEY NOT NULL,
    kind          TEXT NOT NULL,
    subject       TEXT NOT NULL,
    state         TEXT NOT NULL,
    attempts      BIGINT NOT NULL,
    not_before_ms BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, not_before_ms);
CREATE INDEX jobs_by_subject ON jobs (subject, kind);
