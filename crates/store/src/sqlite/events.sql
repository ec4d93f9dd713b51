-- Instants are milliseconds since the epoch, ids are 16 bytes, status columns are names.

-- An event is here once its own record has been seen, whatever was seen before.
CREATE TABLE events (
    customer_id BLOB NOT NULL,
    event_id    BLOB NOT NULL,
    event_type  TEXT NOT NULL,
    source      TEXT NOT NULL,
    subject     TEXT,
    occurred_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    traceparent TEXT,
    payload     BLOB NOT NULL,
    -- Derived from the tables below, in the transaction that changes them.
    status      TEXT NOT NULL,
    deliveries  INTEGER NOT NULL,
    delivered   INTEGER NOT NULL,
    PRIMARY KEY (customer_id, event_id)
) STRICT;
CREATE INDEX events_inbox  ON events (customer_id, received_at, event_id);
CREATE INDEX events_type   ON events (customer_id, event_type, received_at, event_id);
CREATE INDEX events_status ON events (customer_id, status, received_at, event_id);

-- That the matcher's summary of an event has been seen.
CREATE TABLE summaries (
    customer_id BLOB NOT NULL,
    event_id    BLOB NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (customer_id, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    customer_id     BLOB NOT NULL,
    event_id        BLOB NOT NULL,
    subscription_id BLOB NOT NULL,
    delivery_id     BLOB NOT NULL,
    workflow_id     TEXT NOT NULL,      -- empty until a summary has named it
    state           TEXT NOT NULL,
    PRIMARY KEY (customer_id, event_id, subscription_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    customer_id     BLOB NOT NULL,
    event_id        BLOB NOT NULL,
    subscription_id BLOB NOT NULL,
    started_at      INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    delivery_id     BLOB NOT NULL,
    latency_us      INTEGER NOT NULL,
    response        TEXT NOT NULL,      -- answered, failed, not_sent
    response_status INTEGER,
    response_text   TEXT NOT NULL,      -- excerpt, error or reason
    outcome         TEXT NOT NULL,      -- delivered, retry, dead_lettered, cancelled
    outcome_at      INTEGER,
    outcome_text    TEXT,
    PRIMARY KEY (customer_id, event_id, subscription_id, started_at, number)
) STRICT, WITHOUT ROWID;
