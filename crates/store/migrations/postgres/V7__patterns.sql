-- What a subscription wants of a payload, as an event pattern (JSON), beside its JSONPath.
ALTER TABLE subscriptions ADD COLUMN pattern text;
