-- Jobs that send deliveries again, and how far they are.
CREATE TABLE replays (
    id              BLOB NOT NULL PRIMARY KEY,
    customer_id     BLOB NOT NULL REFERENCES customers (id),
    source          TEXT NOT NULL,      -- events, dead_letters
    subscription_id BLOB,
    delivery_id     BLOB,
    standing        TEXT NOT NULL,      -- separated by spaces
    event_types     TEXT NOT NULL,      -- separated by spaces
    from_at         INTEGER,
    to_at           INTEGER NOT NULL,
    rate            INTEGER NOT NULL,
    dry_run         INTEGER NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT,
    after_at        INTEGER,
    after_id        BLOB,
    examined        INTEGER NOT NULL,
    sent            INTEGER NOT NULL,
    -- Who runs it, and until when nobody else may.
    owner           BLOB,
    leased_until    INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_of ON replays (customer_id, id);
CREATE INDEX replays_running ON replays (id) WHERE state = 'running';
