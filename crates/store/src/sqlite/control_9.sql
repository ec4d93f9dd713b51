-- How long what happened to a customer is kept, and who is to be forgotten.
ALTER TABLE customers ADD COLUMN retention_days integer;
ALTER TABLE customers ADD COLUMN erased_at integer;
CREATE INDEX customers_kept_otherwise ON customers (id)
    WHERE retention_days IS NOT NULL OR erased_at IS NOT NULL;

-- Jobs that erase what happened to a customer, and their receipts.
CREATE TABLE erasures (
    customer_id     blob PRIMARY KEY REFERENCES customers (id),
    requested_at    integer NOT NULL,
    -- Nothing in Kafka is older than this once it has come.
    topics_until    integer NOT NULL,
    erased_at       integer,
    completed_at    integer,
    api_keys        integer NOT NULL,
    subscriptions   integer NOT NULL,
    schemas         integer NOT NULL,
    replays         integer NOT NULL,
    queued          integer NOT NULL,
    events          integer NOT NULL,
    -- When to look for what came after; null: it is complete.
    due_at          integer,
    owner           blob,
    leased_until    integer
) WITHOUT ROWID;
CREATE INDEX erasures_due ON erasures (due_at) WHERE due_at IS NOT NULL;

-- Erasing goes through all of a customer's subscriptions, deleted ones too, and what waits for them.
CREATE INDEX subscriptions_ever ON subscriptions (customer_id, id);
