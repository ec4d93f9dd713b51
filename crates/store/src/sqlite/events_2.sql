-- Why an event is held back; gone once it was released.
ALTER TABLE events ADD COLUMN quarantined TEXT;
-- Further CloudEvents attributes, as a JSON object of texts.
ALTER TABLE events ADD COLUMN extensions TEXT;
