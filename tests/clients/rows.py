"""What the rows of an inbox must say, whichever database they are in.

Events are sent and their deliveries awaited over the API; then a reader, which knows nothing but what
docs/storage.md tells of its database, is asked for the same, and must say the same.
"""

import base64
import json
import os
import random
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import said
from said import ask, equal, stored, true, until


@dataclass
class Attempt:
    """`started_at` is in milliseconds."""

    delivery_id: str
    started_at: int
    number: int
    outcome: str
    response_status: int | None


@dataclass
class Event:
    """What the rows say of an event."""

    event_type: str
    payload: bytes
    matched: bool
    # delivery -> (subscription, workflow)
    owed: dict[str, tuple[str, str]] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def status(self):
        """As docs/storage.md says that it follows from the rest."""
        if not (self.matched or self.owed or self.attempts):
            return "accepted"
        if not self.owed:
            return "unmatched"
        ends = [self.outcome(delivery) for delivery in self.owed]
        if any(end not in ("delivered", "dead_lettered", "cancelled") for end in ends):
            return "pending_delivery"
        delivered = ends.count("delivered")
        return "delivered" if delivered == len(ends) else "partially_delivered" if delivered else "failed"

    def outcome(self, delivery_id):
        """What has become of a delivery; None where nothing was attempted."""
        attempts = [one for one in self.attempts if one.delivery_id == delivery_id]
        if any(one.outcome == "delivered" for one in attempts):
            return "delivered"
        last = max(attempts, key=lambda one: (one.started_at, one.number), default=None)
        return last and last.outcome


class Endpoint(BaseHTTPRequestHandler):
    """Takes what is sent to /good, and refuses the rest."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if self.path == "/good" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def judge(connect):
    """Holds a reader to what the API says. `connect` is called once events are there, and returns what has
    `event(event_id)`, an Event; `listed(name)`, the events that a list leads to; and `dead(name)`, the
    deliveries of a list of dead letters, each with its event."""
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
            equal(f"{event_type}: {answer.text[:300]}", answer.status_code, 202)
            event_id = answer.json()["event_id"]

            def settled():
                known = stored(client, event_id)
                return None if known["status"] in ("accepted", "pending_delivery") else known

            known = until(f"{event_id} is settled", settled)
            return known if known["status"] == status else None

        return until(f"{event_type} is {status}", attempt)

    # Short, longer, and longer than a row of some databases may be: of what compression makes little, and of
    # what it doesn't.
    noise = base64.b64encode(random.Random(1).randbytes(675_000)).decode()
    events = {
        "short": sent("order.created", {"größe": "🎁", "total": 120}, "delivered"),
        "refused": sent("order.refused", [1, 2.5, None, "again and " * 500], "partially_delivered"),
        "long": sent("nobody.asked", "x" * 900_000, "unmatched"),
        "noise": sent("nobody.asked", noise, "unmatched"),
    }

    reader = connect()
    for name, event in events.items():
        found = reader.event(event["event_id"])
        equal(f"{name}: type", found.event_type, event["event_type"])
        true(f"{name}: payload", json.loads(found.payload) == event["payload"], found.payload[:100])
        true(f"{name}: matched", found.matched, found)
        equal(f"{name}: status", found.status(), event["status"])
        deliveries = ask(client, "GET", f"/v1/events/{event['event_id']}/deliveries").json()["data"]
        told = {one["delivery_id"]: (one["subscription_id"], one["workflow_id"]) for one in deliveries}
        equal(f"{name}: owed", found.owed, told)
        attempts = sorted((one.delivery_id, one.number, one.outcome, one.response_status) for one in found.attempts)
        told = sorted((one["delivery_id"], attempt["number"], attempt["outcome"], attempt.get("response_status"))
                      for one in deliveries for attempt in one["attempts"])
        equal(f"{name}: attempts", attempts, told)

    ids = {name: event["event_id"] for name, event in events.items()}
    for name, within, without in (
        ("type nobody.asked", "long", "short"),
        ("workflow good", "short", "long"),
        ("unmatched", "noise", "short"),
        ("unwell", "refused", "short"),
    ):
        listed = reader.listed(name)
        true(f"the list {name!r}", ids[within] in listed and ids[without] not in listed, listed)
    told = {one["delivery_id"] for one in ask(client, "GET", "/v1/dead-letters").json()["data"]}
    for name in ("dead", f"dead {made['bad']}"):
        dead = reader.dead(name)
        equal(f"the list {name!r}", set(dead), told)
        true(f"the events of the list {name!r}", ids["refused"] in dead.values(), dead)
    return f"{len(events)} events, their deliveries, attempts, lists and dead letters, as documented"
