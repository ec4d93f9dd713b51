-- Deliveries that wait for someone to take them: of subscriptions that are pulled or ordered.
CREATE TABLE queue (
    position        INTEGER PRIMARY KEY AUTOINCREMENT,
    customer_id     BLOB NOT NULL,
    subscription_id BLOB NOT NULL,
    delivery_id     BLOB NOT NULL,
    event_id        BLOB NOT NULL,
    -- Rows of one key go one after the other; only the first of them is a head. Those without a
    -- key are all heads.
    order_key       BLOB,
    head            INTEGER NOT NULL,
    record          BLOB NOT NULL,
    attempt         INTEGER NOT NULL,
    last_attempt    INTEGER NOT NULL,
    enqueued_at     INTEGER NOT NULL,
    -- From when on someone may lease it; the end of the lease, where there is one.
    free_at         INTEGER NOT NULL,
    -- When the delivery service looks after it; asleep: only if nobody has taken it until then.
    due_at          INTEGER NOT NULL,
    asleep          INTEGER NOT NULL,
    lease           BLOB,
    leased_at       INTEGER,
    UNIQUE (subscription_id, delivery_id)
);
CREATE INDEX queue_heads ON queue (subscription_id, position) WHERE head;
CREATE INDEX queue_keys ON queue (subscription_id, order_key, position) WHERE order_key IS NOT NULL;
CREATE INDEX queue_due ON queue (due_at) WHERE head;
CREATE INDEX queue_asleep ON queue (subscription_id, position) WHERE asleep;
CREATE INDEX queue_leases ON queue (lease) WHERE lease IS NOT NULL;
