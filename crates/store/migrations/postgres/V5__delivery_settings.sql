-- How a subscription wants its deliveries (JSON), and secrets that were rotated out (JSON).
ALTER TABLE subscriptions
    ADD COLUMN settings    text NOT NULL DEFAULT '{}',
    ADD COLUMN old_secrets text NOT NULL DEFAULT '[]';
