-- When what decided a delivery's state happened: its last attempt.
ALTER TABLE deliveries ADD COLUMN last_at INTEGER;
UPDATE deliveries SET last_at = (
    SELECT max(started_at) FROM attempts a
    WHERE a.customer_id = deliveries.customer_id AND a.event_id = deliveries.event_id
      AND a.subscription_id = deliveries.subscription_id
);
-- The dead letters: few rows among many, so that what arrives pays nothing for them.
CREATE INDEX deliveries_dead ON deliveries (customer_id, last_at, delivery_id)
    WHERE state = 'dead_lettered';
CREATE INDEX deliveries_dead_of ON deliveries (customer_id, subscription_id, last_at, delivery_id)
    WHERE state = 'dead_lettered';
CREATE INDEX deliveries_dead_id ON deliveries (customer_id, delivery_id)
    WHERE state = 'dead_lettered';
