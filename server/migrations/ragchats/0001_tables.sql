CREATE TABLE organizations (
    id              TEXT PRIMARY KEY NOT NULL,
    name            TEXT NOT NULL,
    monthly_queries BIGINT NOT NULL,
    created_ms      BIGINT NOT NULL
);

CREATE TABLE users (
    id            TEXT PRIMARY KEY NOT NULL,
    email         TEXT NOT NULL UNIQUE,
    first_name    TEXT NOT NULL,
    last_name     TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_ms    BIGINT NOT NULL
);

-- Role is owner, member or viewer. A viewer reads and changes nothing.
CREATE TABLE memberships (
    user_id         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    role            TEXT NOT NULL,
    PRIMARY KEY (user_id, organization_id)
);
CREATE INDEX memberships_by_organization ON memberships (organization_id);

CREATE TABLE agents (
    id                      TEXT PRIMARY KEY NOT NULL,
    organization_id         TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name                    TEXT NOT NULL,
    description             TEXT NOT NULL,
    model                   TEXT NOT NULL,
    temperature             DOUBLE PRECISION NOT NULL,
    max_tokens              BIGINT NOT NULL,
    top_k                   BIGINT NOT NULL,
    similarity_threshold    DOUBLE PRECISION NOT NULL,
    use_reranking           BIGINT NOT NULL,
    use_hyde                BIGINT NOT NULL,
    use_multi_query         BIGINT NOT NULL,
    use_hybrid_search       BIGINT NOT NULL,
    system_prompt           TEXT NOT NULL,
    allow_general_knowledge BIGINT NOT NULL,
    show_sources            BIGINT NOT NULL,
    source_display_mode     TEXT NOT NULL,
    is_active               BIGINT NOT NULL,
    created_ms              BIGINT NOT NULL,
    updated_ms              BIGINT NOT NULL
);
CREATE INDEX agents_by_organization ON agents (organization_id, created_ms);

-- Only the digest of a key is kept; the key is shown once, when it is made.
CREATE TABLE agent_keys (
    id         TEXT PRIMARY KEY NOT NULL,
    agent_id   TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    digest     TEXT NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL,
    revoked_ms BIGINT
);
CREATE INDEX agent_keys_by_agent ON agent_keys (agent_id);

-- `config` is JSON without any secret: what is only good for a connector that this server lacks is not kept at all.
CREATE TABLE data_sources (
    id              TEXT PRIMARY KEY NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    source_type     TEXT NOT NULL,
    config          TEXT NOT NULL,
    status          TEXT NOT NULL,
    status_message  TEXT,
    progress        BIGINT NOT NULL,
    document_count  BIGINT NOT NULL,
    last_sync_ms    BIGINT,
    created_ms      BIGINT NOT NULL
);
CREATE INDEX data_sources_by_organization ON data_sources (organization_id, created_ms);

CREATE TABLE agent_data_sources (
    agent_id       TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    data_source_id TEXT NOT NULL REFERENCES data_sources (id) ON DELETE CASCADE,
    PRIMARY KEY (agent_id, data_source_id)
);
CREATE INDEX agent_data_sources_by_source ON agent_data_sources (data_source_id);

-- `content` is the file as it came, so that a sync can process it again.
CREATE TABLE documents (
    id             TEXT PRIMARY KEY NOT NULL,
    data_source_id TEXT NOT NULL REFERENCES data_sources (id) ON DELETE CASCADE,
    title          TEXT NOT NULL,
    url            TEXT,
    media_type     TEXT NOT NULL,
    content        BYTEA NOT NULL,
    created_ms     BIGINT NOT NULL
);
CREATE INDEX documents_by_source ON documents (data_source_id, created_ms);

CREATE TABLE chunks (
    id             TEXT PRIMARY KEY NOT NULL,
    document_id    TEXT NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    data_source_id TEXT NOT NULL REFERENCES data_sources (id) ON DELETE CASCADE,
    ordinal        BIGINT NOT NULL,
    content        TEXT NOT NULL
);
CREATE INDEX chunks_by_document ON chunks (document_id, ordinal);
CREATE INDEX chunks_by_source ON chunks (data_source_id);

CREATE TABLE conversations (
    id            TEXT PRIMARY KEY NOT NULL,
    agent_id      TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    title         TEXT,
    message_count BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL,
    updated_ms    BIGINT NOT NULL
);
CREATE INDEX conversations_by_agent ON conversations (agent_id, updated_ms);

-- `position` orders the messages of a conversation; times alone cannot, a question and its answer may share one.
CREATE TABLE messages (
    id              TEXT PRIMARY KEY NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position        BIGINT NOT NULL,
    role            TEXT NOT NULL,
    content         TEXT NOT NULL,
    sources         TEXT,
    created_ms      BIGINT NOT NULL,
    UNIQUE (conversation_id, position)
);

-- One row a query that reached the model, whether or not the model answered. Analytics are computed from it.
CREATE TABLE queries (
    id         TEXT PRIMARY KEY NOT NULL,
    agent_id   TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    message    TEXT NOT NULL,
    succeeded  BIGINT NOT NULL,
    latency_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX queries_by_agent ON queries (agent_id, created_ms);

-- `month` is YYYY-MM, UTC.
CREATE TABLE monthly_usage (
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    month           TEXT NOT NULL,
    used            BIGINT NOT NULL,
    PRIMARY KEY (organization_id, month)
);
