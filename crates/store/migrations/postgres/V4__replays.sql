-- Jobs that send deliveries again, and how far they are.
CREATE TABLE replays (
    id              uuid PRIMARY KEY,
    customer_id     uuid NOT NULL REFERENCES customers (id),
    source          text NOT NULL,      -- events, dead_letters
    subscription_id uuid,
    delivery_id     uuid,
    standing        text NOT NULL,      -- separated by spaces
    event_types     text NOT NULL,      -- separated by spaces
    from_at         timestamptz,
    to_at           timestamptz NOT NULL,
    rate            bigint NOT NULL,
    dry_run         boolean NOT NULL,
    state           text NOT NULL,
    reason          text,
    after_at        timestamptz,
    after_id        uuid,
    examined        bigint NOT NULL,
    sent            bigint NOT NULL,
    -- Who runs it, and until when nobody else may.
    owner           uuid,
    leased_until    timestamptz,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
);
CREATE INDEX replays_of ON replays (customer_id, id);
CREATE INDEX replays_running ON replays (id) WHERE state = 'running';
