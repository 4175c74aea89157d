CREATE TABLE organizations (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    compute_quota BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL
);

-- The first of an organization, by time and id, is where queries go that name none.
CREATE TABLE workspaces (
    id              TEXT PRIMARY KEY NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    created_ms      BIGINT NOT NULL
);
CREATE INDEX workspaces_by_organization ON workspaces (organization_id, created_ms, id);

-- Only the digest of a key is kept. `scopes` are words with a space between. `restricted` is 1 when the key is good only
-- for the workspaces in the next table.
CREATE TABLE api_keys (
    id              TEXT PRIMARY KEY NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    digest          TEXT NOT NULL UNIQUE,
    prefix          TEXT NOT NULL,
    scopes          TEXT NOT NULL,
    restricted      BIGINT NOT NULL,
    created_ms      BIGINT NOT NULL,
    expires_ms      BIGINT,
    revoked_ms      BIGINT
);
CREATE INDEX api_keys_by_organization ON api_keys (organization_id, created_ms, id);

CREATE TABLE api_key_workspaces (
    key_id       TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    PRIMARY KEY (key_id, workspace_id)
);
CREATE INDEX api_key_workspaces_by_workspace ON api_key_workspaces (workspace_id);

-- `month` is YYYY-MM, UTC.
CREATE TABLE compute_usage (
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    month           TEXT NOT NULL,
    used            BIGINT NOT NULL,
    PRIMARY KEY (organization_id, month)
);

CREATE TABLE conversations (
    id            TEXT PRIMARY KEY NOT NULL,
    workspace_id  TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    title         TEXT NOT NULL,
    message_count BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL,
    updated_ms    BIGINT NOT NULL
);
CREATE INDEX conversations_by_activity ON conversations (workspace_id, updated_ms, id);

-- `position` orders the messages of a conversation; times alone cannot, a question and its answer may share one.
CREATE TABLE messages (
    id              TEXT PRIMARY KEY NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position        BIGINT NOT NULL,
    role            TEXT NOT NULL,
    content         TEXT NOT NULL,
    created_ms      BIGINT NOT NULL,
    UNIQUE (conversation_id, position)
);

-- The bytes are in the file store under `id`. `state` is `expected` (an upload URL was given out), `uploaded` (the bytes
-- are there) or `kept` (one of the workspace's files). `path` is the key below the workspace.
CREATE TABLE files (
    id           TEXT PRIMARY KEY NOT NULL,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    key          TEXT NOT NULL UNIQUE,
    path         TEXT NOT NULL,
    name         TEXT NOT NULL,
    size         BIGINT NOT NULL,
    content_type TEXT NOT NULL,
    description  TEXT,
    state        TEXT NOT NULL,
    modified_ms  BIGINT NOT NULL
);
CREATE INDEX files_by_path ON files (workspace_id, state, path);

-- `input` is JSON. One of `pipeline_id` and `tool_id` is set.
CREATE TABLE runs (
    id           TEXT PRIMARY KEY NOT NULL,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name         TEXT,
    pipeline_id  TEXT,
    tool_id      TEXT,
    input        TEXT NOT NULL,
    status       TEXT NOT NULL,
    error        TEXT,
    created_ms   BIGINT NOT NULL,
    started_ms   BIGINT,
    completed_ms BIGINT
);
CREATE INDEX runs_by_workspace ON runs (workspace_id, created_ms, id);

-- What a run has written; it outlives the file, which its owner may delete.
CREATE TABLE run_outputs (
    run_id   TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    name     TEXT NOT NULL,
    key      TEXT NOT NULL,
    size     BIGINT NOT NULL,
    PRIMARY KEY (run_id, position)
);

-- `request` is the JSON of the call, with the file's key in the place of its path.
CREATE TABLE renders (
    id           TEXT PRIMARY KEY NOT NULL,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    request      TEXT NOT NULL,
    status       TEXT NOT NULL,
    output_key   TEXT,
    error        TEXT,
    created_ms   BIGINT NOT NULL
);
CREATE INDEX renders_by_workspace ON renders (workspace_id);
