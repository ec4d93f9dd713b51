-- How a subscription wants its deliveries (JSON), and secrets that were rotated out (JSON).
ALTER TABLE subscriptions ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE subscriptions ADD COLUMN old_secrets TEXT NOT NULL DEFAULT '[]';
