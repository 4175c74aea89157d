-- Role is user or admin; an admin looks after the whole platform. Plan is a word that the Live allowance is looked up by.
CREATE TABLE users (
    id            TEXT PRIMARY KEY NOT NULL,
    username      TEXT NOT NULL UNIQUE,
    email         TEXT NOT NULL UNIQUE,
    full_name     TEXT,
    avatar_url    TEXT,
    nickname      TEXT,
    language      TEXT,
    timezone      TEXT,
    role          TEXT NOT NULL,
    plan          TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_ms    BIGINT NOT NULL
);

-- `created_by_key` is the API key that an organization was made with: such a key goes on seeing what it has made.
CREATE TABLE organizations (
    id             TEXT PRIMARY KEY NOT NULL,
    name           TEXT NOT NULL,
    slug           TEXT NOT NULL UNIQUE,
    description    TEXT,
    created_by_key TEXT,
    created_ms     BIGINT NOT NULL,
    updated_ms     BIGINT NOT NULL
);

-- A team is named by whoever puts its first member into it, and means nothing outside of its organization.
CREATE TABLE teams (
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    id              TEXT NOT NULL,
    created_ms      BIGINT NOT NULL,
    PRIMARY KEY (organization_id, id)
);

-- Role is owner, admin, manager or member.
CREATE TABLE memberships (
    user_id         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    role            TEXT NOT NULL,
    team_id         TEXT,
    joined_ms       BIGINT NOT NULL,
    PRIMARY KEY (user_id, organization_id),
    FOREIGN KEY (organization_id, team_id) REFERENCES teams (organization_id, id)
);
CREATE INDEX memberships_by_organization ON memberships (organization_id, joined_ms);

-- Only the digest of a key is kept; the key is shown once, when it is made. `scopes` and `allowed_ips` are lists with
-- blanks between, in the order in which they were given.
CREATE TABLE api_keys (
    id              TEXT PRIMARY KEY NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    created_by      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    digest          TEXT NOT NULL UNIQUE,
    prefix          TEXT NOT NULL,
    scopes          TEXT NOT NULL,
    allowed_ips     TEXT NOT NULL,
    created_ms      BIGINT NOT NULL,
    expires_ms      BIGINT,
    last_used_ms    BIGINT
);
CREATE INDEX api_keys_by_organization ON api_keys (organization_id);
CREATE INDEX api_keys_by_creator ON api_keys (created_by);

-- Signing keys of tenants. The one without `retired_ms` is active; the others are kept until the last token that they
-- have signed has expired. The private part is sealed.
CREATE TABLE integration_keys (
    kid             TEXT PRIMARY KEY NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    private_sealed  BYTEA NOT NULL,
    public_der      BYTEA NOT NULL,
    created_ms      BIGINT NOT NULL,
    retired_ms      BIGINT,
    last_expiry_ms  BIGINT NOT NULL
);
CREATE INDEX integration_keys_by_organization ON integration_keys (organization_id, created_ms);

-- Tokens that were issued. They are forgotten some time after they have expired, unless they were revoked.
CREATE TABLE integration_tokens (
    jti             TEXT PRIMARY KEY NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    issued_by       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    issued_ms       BIGINT NOT NULL,
    expires_ms      BIGINT NOT NULL
);
CREATE INDEX integration_tokens_by_organization ON integration_tokens (organization_id);
CREATE INDEX integration_tokens_by_expiry ON integration_tokens (expires_ms);

CREATE TABLE integration_revocations (
    jti             TEXT PRIMARY KEY NOT NULL REFERENCES integration_tokens (jti) ON DELETE CASCADE,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    reason          TEXT,
    revoked_by      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    revoked_ms      BIGINT NOT NULL
);
CREATE INDEX integration_revocations_by_organization ON integration_revocations (organization_id, revoked_ms);
CREATE INDEX integration_revocations_by_time ON integration_revocations (revoked_ms);

-- A consent that was asked for and not given yet. The state is kept as its digest, the PKCE verifier sealed.
CREATE TABLE pending_consents (
    state_digest    TEXT PRIMARY KEY NOT NULL,
    user_id         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider        TEXT NOT NULL,
    verifier_sealed BYTEA NOT NULL,
    redirect_uri    TEXT NOT NULL,
    expires_ms      BIGINT NOT NULL
);
CREATE INDEX pending_consents_by_expiry ON pending_consents (expires_ms);

-- Other services that users have connected. Their tokens are sealed.
CREATE TABLE connections (
    id             TEXT PRIMARY KEY NOT NULL,
    user_id        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider       TEXT NOT NULL,
    account_email  TEXT,
    scopes         TEXT NOT NULL,
    access_sealed  BYTEA NOT NULL,
    refresh_sealed BYTEA,
    connected_ms   BIGINT NOT NULL,
    expires_ms     BIGINT,
    revoked_ms     BIGINT,
    UNIQUE (user_id, provider)
);
