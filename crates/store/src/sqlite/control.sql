CREATE TABLE customers (
    id          BLOB PRIMARY KEY,
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL            -- milliseconds since the epoch, as everywhere
) STRICT;

CREATE TABLE api_keys (
    id          BLOB PRIMARY KEY,
    customer_id BLOB NOT NULL REFERENCES customers (id),
    name        TEXT NOT NULL,
    hash        BLOB NOT NULL UNIQUE,       -- HMAC-SHA256 of the key; the key itself is nowhere
    scopes      TEXT NOT NULL,              -- separated by spaces
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT;

CREATE TABLE subscriptions (
    id          BLOB PRIMARY KEY,
    customer_id BLOB NOT NULL REFERENCES customers (id),
    workflow_id TEXT NOT NULL,
    event_types TEXT NOT NULL,              -- separated by spaces; empty: every type
    jsonpath    TEXT,
    url         TEXT NOT NULL,
    secret      BLOB NOT NULL,              -- not encrypted yet (issue 6)
    state       TEXT NOT NULL,
    reason      TEXT,
    revision    INTEGER NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX subscriptions_of_customer ON subscriptions (customer_id, id);

-- The one sequence of all changes to subscriptions. Counted up in the same transaction as the
-- change; SQLite has one writer at a time, so revisions become visible in their order.
CREATE TABLE revision (only INTEGER PRIMARY KEY CHECK (only = 1), value INTEGER NOT NULL) STRICT;
INSERT INTO revision VALUES (1, 0);
