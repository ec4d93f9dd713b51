"""What Schemathesis needs to know of this gateway that a document can't say.

1. The key and the customer that it runs with must stay as they are, or all else is 401 or 403.
2. Ids are ours: a random one is never found. Every second well-formed id becomes one that exists.
3. One fault at a time: cases of the coverage phase have `""` for a nullable date-time (it is none)
   and always the same Idempotency-Key, so that each would be refused whatever else is in it.
4. `ce-specversion` makes another thing of the body than its content type says, which no schema can
   tell: the headers of CloudEvents' binary mode are left to cloud_events.py and cloud_events.mjs.
5. A webhook's URL is guarded, and what is delivered goes there: one that is a good URL becomes one
   at which nobody listens.
6. A lease may wait for 20 seconds; here it waits for none.
"""

import atexit
import json
import os
import re
import time
import uuid
from collections import Counter, defaultdict

import schemathesis

import said

BASE = f"http://{os.environ['TL_HTTP']}"
OWN = {os.environ["TL_KEY_ID"], os.environ["TL_CUSTOMER_ID"]}
GOOD_TYPE = re.compile(r"[A-Za-z0-9._/:-]{1,255}")

client = said.session()

turns = Counter()
statuses = defaultdict(Counter)


def made(method, path, body):
    answer = client.request(method, BASE + path, json=body, timeout=30)
    if not answer.ok:
        raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json()


class Things:
    """Something of each kind that operations ask for: the last one, or a new one."""

    def __init__(self):
        self.last = {}

    def take(self, kind, new):
        if new or kind not in self.last:
            self.last[kind] = getattr(self, kind)()
        return self.last[kind]

    def key(self):
        # A customer may have 100 live ones, and the cases make some as well: all others go.
        for one in client.get(f"{BASE}/v1/api-keys", timeout=30).json()["data"]:
            if one["state"] == "live" and one["id"] not in OWN:
                client.delete(f"{BASE}/v1/api-keys/{one['id']}", timeout=30)
        return made("POST", "/v1/api-keys", {"name": "thing", "scopes": ["events:read"]})["id"]

    def customer(self):
        return made("POST", "/v1/customers", {"name": "thing"})["id"]

    def erased(self):
        customer = self.customer()
        answer = client.delete(f"{BASE}/v1/customers/{customer}", timeout=30)
        assert answer.status_code == 202, answer.text
        return customer

    def customers_key(self):
        customer = self.take("customer", True)
        return made("POST", f"/v1/customers/{customer}/api-keys", {"name": "thing", "scopes": ["events:read"]})["id"]

    def subscription(self):
        body = {"workflow_id": "thing", "event_types": ["nobody.sends.this"], "mode": "both", "delivery": {"url": "http://127.0.0.1:9/"}}
        return made("POST", "/v1/subscriptions", body)["id"]

    def schema(self):
        made("PUT", "/v1/schemas/thing", {"mode": "quarantine", "schema": {"type": "object"}})
        return "thing"

    def event(self):
        """One that is held back, so that it can be released; its schema allows it by then."""
        event_type = f"held.{uuid.uuid4()}"
        made("PUT", f"/v1/schemas/{event_type}", {"mode": "quarantine", "schema": False})
        event = made("POST", "/v1/events", {"event_type": event_type, "payload": {}})["event_id"]
        made("PUT", f"/v1/schemas/{event_type}", {"mode": "quarantine", "schema": True})
        return self.stored(event)

    @staticmethod
    def stored(event):
        """An event is accepted a moment before it can be read."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if client.get(f"{BASE}/v1/events/{event}", timeout=30).ok:
                return event
            time.sleep(0.05)
        raise RuntimeError(f"event {event} did not come to the store")

    def letter(self):
        """A delivery that was given up at once: the gateway itself has nothing where it went."""
        event_type = f"lost.{uuid.uuid4()}"
        body = {"workflow_id": "thing", "event_types": [event_type], "delivery": {"url": f"{BASE}/nothing"}}
        made("POST", "/v1/subscriptions", body)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            # The first may come before the subscription is known.
            made("POST", "/v1/events", {"event_type": event_type, "payload": {}})
            time.sleep(0.2)
            found = client.get(f"{BASE}/v1/dead-letters", params={"event_type": event_type}, timeout=30).json()["data"]
            if found:
                return found[0]["delivery_id"]
        raise RuntimeError("no dead letter came")

    def replay(self):
        return made("POST", "/v1/dead-letters/redrive", {"event_types": ["nobody.sends.this"]})["id"]


things = Things()
KIND = {"api-keys": "key", "dead-letters": "letter", "events": "event", "replays": "replay", "subscriptions": "subscription", "customers": "customer", "schemas": "schema"}
# After these the thing is not what it was.
USED_UP = {"revokeApiKey", "rotateApiKey", "revokeCustomerApiKey", "deleteSubscription", "deleteSchema", "releaseEvent", "redriveDeadLetter"}


def is_uuid(value):
    try:
        return isinstance(value, str) and bool(uuid.UUID(value)) and len(value) == 36
    except ValueError:
        return False


INSTANTS = ("time", "occurred_at", "expires_at", "from", "to")


def mend(value, place):
    """Puts a date-time where an empty text stands for one, unless just that is what is tried."""
    if isinstance(value, list):
        for one in value:
            mend(one, place)
    elif isinstance(value, dict):
        for name in INSTANTS:
            if value.get(name) == "" and f"/{name}" not in place:
                value[name] = "2099-01-01T00:00:00Z"


@schemathesis.hook
def before_load_schema(context, raw_schema):
    operation = raw_schema["paths"]["/v1/events"]["post"]
    operation["parameters"] = [one for one in operation["parameters"] if not one["name"].startswith("ce-")]


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw["operationId"]
    places = case.path_parameters or {}
    for name, value in places.items():
        if value in OWN:
            places[name] = str(uuid.uuid4())
    # Only ids that are good as they are: what was made to be wrong stays wrong.
    well_formed = places and all(is_uuid(v) or (n == "event_type" and GOOD_TYPE.fullmatch(str(v))) for n, v in places.items())
    if well_formed:
        turns[operation] += 1
        if turns[operation] % 2:
            kind = KIND[case.operation.path.split("/")[2]]
            if operation == "eraseCustomer":
                # Nobody else's: it is not there any more.
                places["id"] = things.customer()
            elif operation == "getErasure":
                places["id"] = things.take("erased", False)
            elif "key" in places:
                places["key"] = things.take("customers_key", operation in USED_UP)
                places["id"] = things.take("customer", False)
            else:
                (name,) = places
                places[name] = things.take(kind, operation in USED_UP)
    data = case.meta.phase.data if case.meta else None
    place = getattr(data, "location", None)
    if place is not None:
        mend(case.body, place)
    headers = case.headers or {}
    if headers.get("Idempotency-Key") == "0":
        turns["Idempotency-Key"] += 1
        if turns["Idempotency-Key"] % 8:
            headers["Idempotency-Key"] = str(uuid.uuid4())
    asked = case.query or {}
    if operation == "explainEvent" and is_uuid(asked.get("subscription_id")):
        asked["subscription_id"] = things.take("subscription", False)
    if operation == "createReplay" and isinstance(case.body, dict) and is_uuid(case.body.get("subscription_id")):
        case.body["subscription_id"] = things.take("subscription", False)
    if operation == "leaseDeliveries" and isinstance(case.body, dict) and case.body.get("wait_seconds") in range(21):
        case.body["wait_seconds"] = 0
    if operation in ("createSubscription", "updateSubscription") and isinstance(case.body, dict):
        delivery = case.body.get("delivery")
        if isinstance(delivery, dict) and isinstance(delivery.get("url"), str):
            delivery["url"] = "http://127.0.0.1:9/"


@schemathesis.hook
def after_call(context, case, response):
    # Cases with a method that the document doesn't have are none of the operation's.
    if case.method.lower() == case.operation.method.lower():
        statuses[case.operation.definition.raw["operationId"]][str(response.status_code)] += 1
        if sum(statuses[case.operation.definition.raw["operationId"]].values()) % 20 == 1:
            write()


def write():
    with open(os.environ["TL_SEEN"], "w", encoding="utf-8") as out:
        json.dump(statuses, out)


atexit.register(write)
