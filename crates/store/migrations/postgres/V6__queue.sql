-- Deliveries that wait for someone to take them: of subscriptions that are pulled or ordered.
CREATE TABLE queue (
    position        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id     uuid NOT NULL,
    subscription_id uuid NOT NULL,
    delivery_id     uuid NOT NULL,
    event_id        uuid NOT NULL,
    -- Rows of one key go one after the other; only the first of them is a head. Those without a
    -- key are all heads.
    order_key       uuid,
    head            boolean NOT NULL,
    record          bytea NOT NULL,
    attempt         integer NOT NULL,
    last_attempt    integer NOT NULL,
    enqueued_at     timestamptz NOT NULL,
    -- From when on someone may lease it; the end of the lease, where there is one.
    free_at         timestamptz NOT NULL,
    -- When the delivery service looks after it; asleep: only if nobody has taken it until then.
    due_at          timestamptz NOT NULL,
    asleep          boolean NOT NULL,
    lease           uuid,
    leased_at       timestamptz,
    UNIQUE (subscription_id, delivery_id)
);
CREATE INDEX queue_heads ON queue (subscription_id, position) WHERE head;
CREATE INDEX queue_keys ON queue (subscription_id, order_key, position) WHERE order_key IS NOT NULL;
CREATE INDEX queue_due ON queue (due_at) WHERE head;
CREATE INDEX queue_asleep ON queue (subscription_id, position) WHERE asleep;
CREATE INDEX queue_leases ON queue (lease) WHERE lease IS NOT NULL;
