CREATE TABLE customers (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL
);

CREATE TABLE api_keys (
    id          uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES customers (id),
    name        text NOT NULL,
    hash        bytea NOT NULL UNIQUE,      -- HMAC-SHA256 of the key; the key itself is nowhere
    scopes      text NOT NULL,              -- separated by spaces
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    revoked_at  timestamptz
);
CREATE INDEX api_keys_of_customer ON api_keys (customer_id);

CREATE TABLE subscriptions (
    id          uuid PRIMARY KEY,
    customer_id uuid NOT NULL REFERENCES customers (id),
    workflow_id text NOT NULL,
    event_types text NOT NULL,              -- separated by spaces; empty: every type
    jsonpath    text,
    url         text NOT NULL,
    secret      bytea NOT NULL,             -- not encrypted yet (issue 6)
    state       text NOT NULL,
    reason      text,
    revision    bigint NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX subscriptions_of_customer ON subscriptions (customer_id, id);

-- The one sequence of all changes to subscriptions. Not a database sequence: there a later
-- number may commit first, and a reader would pass the earlier one for good. The lock on this
-- row is held to the commit, so revisions become visible in their order.
CREATE TABLE subscription_revision (the_one boolean PRIMARY KEY CHECK (the_one), value bigint NOT NULL);
INSERT INTO subscription_revision VALUES (true, 0);
