-- Every new column has a default, and none of the old ones changes: processes of the version
-- before go on writing to these tables while they are replaced one by one.

ALTER TABLE customers
    ADD COLUMN plan         text NOT NULL DEFAULT 'default',
    ADD COLUMN rate_limit   text;               -- "600/1m"; null: what the plan says

ALTER TABLE api_keys
    ADD COLUMN hint         text NOT NULL DEFAULT '',
    ADD COLUMN rate_limit   text,               -- null: what its customer or the plan says
    ADD COLUMN last_used_at timestamptz,        -- in no index, so that writing it is cheap (HOT)
    ADD COLUMN revision     bigint NOT NULL DEFAULT 0;  -- of its, or its customer's, last change
-- A customer's keys are read in the order of their ids.
DROP INDEX api_keys_of_customer;
CREATE INDEX api_keys_of_customer ON api_keys (customer_id, id);
CREATE INDEX api_keys_by_revision ON api_keys (revision);

CREATE TABLE schemas (
    customer_id uuid NOT NULL REFERENCES customers (id),
    event_type  text COLLATE "C" NOT NULL,      -- listed in the order of its bytes, on any server
    mode        text NOT NULL,
    document    text NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (customer_id, event_type)
);

-- When a customer's schemas last changed. A row of its own, because the deletion of a schema
-- leaves no other trace, and followers read all of a customer's schemas again anyway.
CREATE TABLE schema_changes (
    customer_id uuid PRIMARY KEY REFERENCES customers (id),
    revision    bigint NOT NULL
);
CREATE INDEX schema_changes_by_revision ON schema_changes (revision);

CREATE TABLE audit (
    customer_id uuid NOT NULL REFERENCES customers (id),
    id          uuid NOT NULL,                  -- UUIDv7: sorts by time
    at          timestamptz NOT NULL,
    actor       text NOT NULL,
    action      text NOT NULL,
    target      text NOT NULL,
    PRIMARY KEY (customer_id, id)
);

-- subscription_revision keeps its name for the version before, and counts the changes of keys,
-- customers and schemas from now on too.
