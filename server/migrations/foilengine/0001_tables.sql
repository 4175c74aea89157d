-- Users are the identity provider's. What their tokens say of them is kept when they first make something.
CREATE TABLE users (
    id           TEXT PRIMARY KEY NOT NULL,
    email        TEXT NOT NULL,
    display_name TEXT NOT NULL,
    created_ms   BIGINT NOT NULL
);

-- `draft` is the version that was saved last, `published` the one that players meet.
CREATE TABLE personas (
    id           TEXT PRIMARY KEY NOT NULL,
    owner_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    description  TEXT,
    is_published BIGINT NOT NULL,
    draft        BIGINT NOT NULL,
    published    BIGINT,
    created_ms   BIGINT NOT NULL,
    updated_ms   BIGINT NOT NULL
);
CREATE INDEX personas_by_owner ON personas (owner_id, created_ms);
CREATE INDEX personas_by_age ON personas (is_published, created_ms);

-- A definition is JSON, whole. Versions that nobody needs any more are deleted.
CREATE TABLE versions (
    persona_id TEXT NOT NULL REFERENCES personas (id) ON DELETE CASCADE,
    version    BIGINT NOT NULL,
    definition TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (persona_id, version)
);

-- The ids of machines, which stay as long as the machine keeps its key.
CREATE TABLE machines (
    id          TEXT PRIMARY KEY NOT NULL,
    persona_id  TEXT NOT NULL REFERENCES personas (id) ON DELETE CASCADE,
    machine_key TEXT NOT NULL,
    UNIQUE (persona_id, machine_key)
);

-- Only the digest of a key is kept; the key is shown once, when it is made.
CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY NOT NULL,
    owner_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    digest       TEXT NOT NULL UNIQUE,
    created_ms   BIGINT NOT NULL,
    last_used_ms BIGINT,
    revoked_ms   BIGINT
);
CREATE INDEX api_keys_by_owner ON api_keys (owner_id, created_ms);

-- A player of a persona. `surface` is sdk or web; `user_id` is the signed-in user on the web, empty for games and for
-- visitors of the web who have not signed in.
CREATE TABLE players (
    id              TEXT PRIMARY KEY NOT NULL,
    persona_id      TEXT NOT NULL REFERENCES personas (id) ON DELETE CASCADE,
    surface         TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    user_session_id TEXT NOT NULL,
    UNIQUE (persona_id, surface, user_id, user_session_id)
);
CREATE INDEX players_by_name ON players (surface, user_id, user_session_id);

-- One running or ended conversation of a player in a machine; `begun` numbers a player's sessions in their order.
CREATE TABLE sessions_of_players (
    id            TEXT PRIMARY KEY NOT NULL,
    player_id     TEXT NOT NULL REFERENCES players (id) ON DELETE CASCADE,
    machine_id    TEXT NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
    persona_id    TEXT NOT NULL,
    version       BIGINT NOT NULL,
    begun         BIGINT NOT NULL,
    player_name   TEXT NOT NULL,
    player_gender TEXT NOT NULL,
    state_key     TEXT NOT NULL,
    score         DOUBLE PRECISION NOT NULL,
    outcome       TEXT,
    asked_back    BIGINT NOT NULL,
    summary       TEXT NOT NULL,
    summarized    BIGINT NOT NULL,
    message_count BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL,
    updated_ms    BIGINT NOT NULL,
    UNIQUE (player_id, machine_id),
    FOREIGN KEY (persona_id, version) REFERENCES versions (persona_id, version) ON DELETE CASCADE
);

CREATE TABLE messages (
    session_id TEXT NOT NULL REFERENCES sessions_of_players (id) ON DELETE CASCADE,
    position   BIGINT NOT NULL,
    role       TEXT NOT NULL,
    content    TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (session_id, position)
);

-- How a player ended a machine last. It outlives the session when the player begins the machine anew.
CREATE TABLE completions (
    player_id  TEXT NOT NULL REFERENCES players (id) ON DELETE CASCADE,
    machine_id TEXT NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
    outcome    TEXT NOT NULL,
    score      DOUBLE PRECISION NOT NULL,
    ended_ms   BIGINT NOT NULL,
    PRIMARY KEY (player_id, machine_id)
);

-- What ended machines told of a player.
CREATE TABLE variables (
    player_id TEXT NOT NULL REFERENCES players (id) ON DELETE CASCADE,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (player_id, key)
);
