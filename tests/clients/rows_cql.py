"""The rows of an inbox in Cassandra, read with DataStax's driver as docs/storage.md describes them.

Events are sent and their deliveries awaited over the API; then the rows must say the same.
"""

import json
import os
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cassandra.cluster import Cluster

import said
from said import ask, equal, stored, true, until


class Endpoint(BaseHTTPRequestHandler):
    """Takes what is sent to /good, and refuses the rest."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if self.path == "/good" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def minute(event_id):
    """The minute of an event: its id begins with the milliseconds of when it was received."""
    millis = uuid.UUID(event_id).int >> 80
    return millis - millis % 60_000


def main():
    client = said.session(os.environ["TL_KEY"])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    made = {}
    for name, types in (("good", ["order.*"]), ("bad", ["order.refused"])):
        body = {"workflow_id": name, "event_types": types, "delivery": {"url": f"{base}/{name}"}}
        answer = ask(client, "POST", "/v1/subscriptions", json=body)
        equal(f"subscription {name}: {answer.text}", answer.status_code, 201)
        made[name] = answer.json()["id"]

    def sent(event_type, payload, status):
        """An event that came to this; sent again until the subscriptions are known."""

        def attempt():
            answer = ask(client, "POST", "/v1/events", json={"event_type": event_type, "payload": payload})
            event_id = answer.json()["event_id"]

            def settled():
                known = stored(client, event_id)
                return None if known["status"] in ("accepted", "pending_delivery") else known

            known = until(f"{event_id} is settled", settled)
            return known if known["status"] == status else None

        return until(f"{event_type} is {status}", attempt)

    events = {
        "delivered": sent("order.created", {"größe": "🎁", "total": 120}, "delivered"),
        "partially_delivered": sent("order.refused", [1, 2.5, None], "partially_delivered"),
        "unmatched": sent("nobody.asked", "x" * 900_000, "unmatched"),
    }

    host, port, keyspace = os.environ["TL_CQL_HOST"], int(os.environ["TL_CQL_PORT"]), os.environ["TL_CQL_KEYSPACE"]
    session = Cluster([host], port=port).connect(keyspace)
    # The customer is the one who has events: there is no other in this keyspace.
    (customer,) = {row.customer_id for row in session.execute("SELECT DISTINCT customer_id, minute FROM events")}
    minutes = {int(row.minute.timestamp() * 1000) for row in session.execute(
        "SELECT minute FROM minutes WHERE customer_id = %s AND list = ''", (customer,))}

    def pieces(event):
        """The rows of an event, by the name of the piece."""
        event_id = event["event_id"]
        true(f"{event_id}: its minute is among the minutes", minute(event_id) in minutes, minutes)
        rows = session.execute(
            "SELECT * FROM events WHERE customer_id = %s AND minute = %s AND list = '' AND event_id = %s",
            (customer, minute(event_id), uuid.UUID(event_id)))
        return {row.piece: row for row in rows}

    for status, event in events.items():
        found = pieces(event)
        row = found["event"]
        equal(f"{status}: type", row.event_type, event["event_type"])
        equal(f"{status}: payload", json.loads(row.payload), event["payload"])
        true(f"{status}: matched", "matched" in found, list(found))
        deliveries = ask(client, "GET", f"/v1/events/{event['event_id']}/deliveries").json()["data"]
        owed = {str(r.delivery_id): (str(r.subscription_id), r.workflow_id) for name, r in found.items() if name.startswith("owed ")}
        equal(f"{status}: owed", owed, {d["delivery_id"]: (d["subscription_id"], d["workflow_id"]) for d in deliveries})
        attempts = sorted((str(r.delivery_id), r.number, r.outcome, r.response_status) for name, r in found.items() if name.startswith("attempt "))
        told = sorted((d["delivery_id"], a["number"], a["outcome"], a.get("response_status")) for d in deliveries for a in d["attempts"])
        equal(f"{status}: attempts", attempts, told)

    def listed(name):
        """The events that a list leads to."""
        found = set()
        for row in session.execute("SELECT minute FROM minutes WHERE customer_id = %s AND list = %s", (customer, name)):
            rows = session.execute("SELECT event_id FROM events WHERE customer_id = %s AND minute = %s AND list = %s",
                                   (customer, row.minute, name))
            found |= {str(row.event_id) for row in rows}
        return found

    true("the list of a type", events["unmatched"]["event_id"] in listed("type nobody.asked"), listed("type nobody.asked"))
    true("the list of a workflow", events["delivered"]["event_id"] in listed("workflow good"), listed("workflow good"))
    true("the list of those nobody wants", events["unmatched"]["event_id"] in listed("unmatched"), listed("unmatched"))
    unwell = listed("unwell")
    true("the list of those given up", events["partially_delivered"]["event_id"] in unwell and events["delivered"]["event_id"] not in unwell, unwell)
    dead = set()
    for name in ("dead", f"dead {made['bad']}"):
        rows = [row for m in session.execute("SELECT minute FROM minutes WHERE customer_id = %s AND list = %s", (customer, name))
                for row in session.execute("SELECT delivery_id, event_id FROM dead_letters WHERE customer_id = %s AND list = %s AND minute = %s",
                                           (customer, name, m.minute))]
        dead = {str(row.delivery_id) for row in rows}
        true(f"the list {name!r}", events["partially_delivered"]["event_id"] in {str(row.event_id) for row in rows}, rows)
    told = {one["delivery_id"] for one in ask(client, "GET", "/v1/dead-letters").json()["data"]}
    equal("dead letters", dead, told)
    print(f"rows in Cassandra: {len(events)} events, their deliveries, attempts, lists and dead letters, as documented")


main()
