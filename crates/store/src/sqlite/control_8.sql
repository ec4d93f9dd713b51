-- A customer's subscriptions are listed and counted without the deleted ones, which stay in the
-- table for whoever follows the changes: however many those are, nobody reads past them. The state
-- is in it so that counting reads nothing but the index.
DROP INDEX subscriptions_of_customer;
CREATE INDEX subscriptions_of_customer ON subscriptions (customer_id, id, state)
    WHERE state <> 'deleted';
