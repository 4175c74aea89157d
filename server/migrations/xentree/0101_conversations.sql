CREATE TABLE conversations (
    id            TEXT PRIMARY KEY NOT NULL,
    user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title         TEXT NOT NULL,
    provider      TEXT NOT NULL,
    message_count BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL,
    updated_ms    BIGINT NOT NULL
);
CREATE INDEX conversations_by_user ON conversations (user_id, updated_ms DESC, id);

-- `position` orders the messages of a conversation; times alone cannot, a question and its answer may share one.
CREATE TABLE messages (
    id              TEXT PRIMARY KEY NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position        BIGINT NOT NULL,
    role            TEXT NOT NULL,
    content         TEXT NOT NULL,
    provider        TEXT,
    model           TEXT,
    created_ms      BIGINT NOT NULL,
    UNIQUE (conversation_id, position)
);

-- At most one session of a conversation is open. One without activity for a while counts as ended with its last activity,
-- and is closed when somebody next looks for it.
CREATE TABLE conversation_sessions (
    id               TEXT PRIMARY KEY NOT NULL,
    conversation_id  TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id          TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    started_ms       BIGINT NOT NULL,
    last_activity_ms BIGINT NOT NULL,
    ended_ms         BIGINT
);
CREATE UNIQUE INDEX conversation_sessions_open ON conversation_sessions (conversation_id) WHERE ended_ms IS NULL;
CREATE INDEX conversation_sessions_by_user ON conversation_sessions (user_id, started_ms);

-- `tags` is a JSON array of texts.
CREATE TABLE notes (
    id              TEXT PRIMARY KEY NOT NULL,
    user_id         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title           TEXT NOT NULL,
    content         TEXT NOT NULL,
    conversation_id TEXT REFERENCES conversations (id) ON DELETE SET NULL,
    tags            TEXT NOT NULL,
    created_ms      BIGINT NOT NULL,
    updated_ms      BIGINT NOT NULL
);
CREATE INDEX notes_by_user ON notes (user_id, updated_ms DESC, id);
CREATE INDEX notes_by_conversation ON notes (conversation_id);

-- When a collection of the search index was last made anew.
CREATE TABLE index_rebuilds (
    collection  TEXT PRIMARY KEY NOT NULL,
    finished_ms BIGINT NOT NULL
);
