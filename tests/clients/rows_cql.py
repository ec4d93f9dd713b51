"""The rows of an inbox in Cassandra, read with DataStax's driver as docs/storage.md describes them."""

import os
import uuid

from cassandra.cluster import Cluster

import rows
from said import true


def minute(event_id):
    """The minute of an event: its id begins with the milliseconds of when it was received."""
    millis = uuid.UUID(event_id).int >> 80
    return millis - millis % 60_000


class Reader:
    def __init__(self):
        host, port, keyspace = os.environ["TL_CQL_HOST"], int(os.environ["TL_CQL_PORT"]), os.environ["TL_CQL_KEYSPACE"]
        self.session = Cluster([host], port=port).connect(keyspace)
        # The customer is the one who has events: there is no other in this keyspace.
        (self.customer,) = {row.customer_id for row in self.session.execute("SELECT DISTINCT customer_id, minute FROM events")}

    def minutes(self, name):
        """The minutes in which a list has something."""
        found = self.session.execute("SELECT minute FROM minutes WHERE customer_id = %s AND list = %s", (self.customer, name))
        return [row.minute for row in found]

    def event(self, event_id):
        known = {int(one.timestamp() * 1000) for one in self.minutes("")}
        true(f"{event_id}: its minute is among the minutes", minute(event_id) in known, known)
        found = self.session.execute(
            "SELECT * FROM events WHERE customer_id = %s AND minute = %s AND list = '' AND event_id = %s",
            (self.customer, minute(event_id), uuid.UUID(event_id)))
        pieces = {row.piece: row for row in found}
        told = any(name == "matched" or name.startswith("owed ") for name in pieces)
        event = rows.Event(pieces["event"].event_type, pieces["event"].payload, told)
        for name, row in pieces.items():
            if name.startswith("owed "):
                event.owed[str(row.delivery_id)] = (str(row.subscription_id), row.workflow_id)
            elif name.startswith("attempt "):
                started = int(row.started_at.timestamp() * 1000)
                event.attempts.append(rows.Attempt(str(row.delivery_id), started, row.number, row.outcome, row.response_status))
        return event

    def listed(self, name):
        found = [self.session.execute("SELECT event_id FROM events WHERE customer_id = %s AND minute = %s AND list = %s",
                                      (self.customer, at, name)) for at in self.minutes(name)]
        return {str(row.event_id) for page in found for row in page}

    def dead(self, name):
        found = [self.session.execute("SELECT delivery_id, event_id FROM dead_letters WHERE customer_id = %s AND list = %s AND minute = %s",
                                      (self.customer, name, at)) for at in self.minutes(name)]
        return {str(row.delivery_id): str(row.event_id) for page in found for row in page}


print(f"rows in Cassandra: {rows.judge(Reader)}")
