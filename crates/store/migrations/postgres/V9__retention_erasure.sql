-- How long what happened to a customer is kept, and who is to be forgotten. Columns with defaults, and tables
-- that the version before doesn't look at.
ALTER TABLE customers
    ADD COLUMN retention_days   integer,        -- null: what the settings say
    ADD COLUMN erased_at        timestamptz;    -- since when nothing of it is kept any more
-- What storage asks for every few seconds, of customers that may be many.
CREATE INDEX customers_kept_otherwise ON customers (id)
    WHERE retention_days IS NOT NULL OR erased_at IS NOT NULL;

-- Jobs that erase what happened to a customer, and their receipts.
CREATE TABLE erasures (
    customer_id     uuid PRIMARY KEY REFERENCES customers (id),
    requested_at    timestamptz NOT NULL,
    -- Nothing in Kafka is older than this once it has come.
    topics_until    timestamptz NOT NULL,
    erased_at       timestamptz,
    completed_at    timestamptz,
    api_keys        bigint NOT NULL,
    subscriptions   bigint NOT NULL,
    schemas         bigint NOT NULL,
    replays         bigint NOT NULL,
    queued          bigint NOT NULL,
    events          bigint NOT NULL,
    -- When to look for what came after; null: it is complete.
    due_at          timestamptz,
    owner           uuid,
    leased_until    timestamptz
);
CREATE INDEX erasures_due ON erasures (due_at) WHERE due_at IS NOT NULL;

-- Erasing goes through all of a customer's subscriptions, deleted ones too, and what waits for them.
CREATE INDEX subscriptions_ever ON subscriptions (customer_id, id);
