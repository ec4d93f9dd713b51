-- Endpoints that have answered with nothing but failure, and since when.
CREATE TABLE failing_endpoints (
    subscription_id BLOB NOT NULL PRIMARY KEY,
    since           INTEGER NOT NULL,
    last            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
