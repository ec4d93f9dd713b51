-- Indexes alone, which the version before doesn't notice: tests/plans.rs found two requests that read past rows
-- that they don't want.

-- Customers are listed without those who were erased, who stay in the table.
CREATE INDEX customers_not_erased ON customers (id) WHERE erased_at IS NULL;
-- Who asks for a replay has its running ones counted, not everybody's.
CREATE INDEX replays_running_of ON replays (customer_id) WHERE state = 'running';
