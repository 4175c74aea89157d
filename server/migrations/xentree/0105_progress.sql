-- What earned XP. `day` is YYYY-MM-DD where the user was. The same deed earns once.
CREATE TABLE xp_events (
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    reference  TEXT NOT NULL,
    day        TEXT NOT NULL,
    quantity   BIGINT NOT NULL,
    xp         BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, kind, reference)
);
CREATE INDEX xp_events_by_day ON xp_events (user_id, day);

-- The sums of the events by day, so that nothing has to add up a life of learning.
CREATE TABLE xp_days (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    day     TEXT NOT NULL,
    xp      BIGINT NOT NULL,
    PRIMARY KEY (user_id, day)
);

CREATE TABLE xp_boosters (
    user_id TEXT PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    percent BIGINT NOT NULL,
    ends_ms BIGINT NOT NULL
);

CREATE TABLE xp_wallets (
    user_id TEXT PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tokens  BIGINT NOT NULL
);
