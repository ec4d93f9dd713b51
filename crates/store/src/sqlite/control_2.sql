ALTER TABLE customers ADD COLUMN plan TEXT NOT NULL DEFAULT 'default';
ALTER TABLE customers ADD COLUMN rate_limit TEXT;   -- "600/1m"; null: what the plan says

ALTER TABLE api_keys ADD COLUMN hint TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN rate_limit TEXT;    -- null: what its customer or the plan says
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
-- Of its, or its customer's, last change.
ALTER TABLE api_keys ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
CREATE INDEX api_keys_of_customer ON api_keys (customer_id, id);
CREATE INDEX api_keys_by_revision ON api_keys (revision);

CREATE TABLE schemas (
    customer_id BLOB NOT NULL REFERENCES customers (id),
    event_type  TEXT NOT NULL,
    mode        TEXT NOT NULL,
    document    TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (customer_id, event_type)
) STRICT;

-- When a customer's schemas last changed. A row of its own, because the deletion of a schema
-- leaves no other trace, and followers read all of a customer's schemas again anyway.
CREATE TABLE schema_changes (
    customer_id BLOB PRIMARY KEY REFERENCES customers (id),
    revision    INTEGER NOT NULL
) STRICT;
CREATE INDEX schema_changes_by_revision ON schema_changes (revision);

CREATE TABLE audit (
    customer_id BLOB NOT NULL REFERENCES customers (id),
    id          BLOB NOT NULL,              -- UUIDv7: sorts by time
    at          INTEGER NOT NULL,
    actor       TEXT NOT NULL,
    action      TEXT NOT NULL,
    target      TEXT NOT NULL,
    PRIMARY KEY (customer_id, id)
) STRICT;
