-- Endpoints that have answered with nothing but failure, and since when.
CREATE TABLE failing_endpoints (
    subscription_id uuid PRIMARY KEY,
    since           timestamptz NOT NULL,
    last            timestamptz NOT NULL
);
