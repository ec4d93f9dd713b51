"""What generated cases rarely hit, asked of each operation of the served document.

An array is not an object: a body with the right values, but without their names, is refused. (A
deserialiser that takes structs by position is common, and no schema allows it.) Unknown members and
unknown parameters are refused where the document says so, and each answer is one that it lists.
"""

import json
import os

import jsonschema

import said
from said import ask, equal, true

client = said.session(os.environ["TL_ADMIN_KEY"])
document = ask(client, "GET", "/openapi.json").json()


def resolve(schema):
    while "$ref" in schema:
        place = document
        for step in schema["$ref"][2:].split("/"):
            place = place[step]
        schema = place
    return schema


# A good body for each operation that takes one, in each of its content types.
EVENT = {"event_type": "shape", "payload": {"a": 1}, "source": "shapes", "subject": "one", "occurred_at": "2026-01-01T00:00:00Z"}
CLOUD = {"specversion": "1.0", "id": "1", "source": "/shapes", "type": "shape", "data": {"a": 1}}
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines")
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
GOOD = {
    ("publishEvent", "application/json"): EVENT,
    ("publishEvent", "application/cloudevents+json"): CLOUD,
    ("publishEvent", "application/cloudevents-batch+json"): [CLOUD],
    ("publishBatch", "application/json"): [EVENT],
    **{("publishBatch", kind): [EVENT] for kind in LINES},
    ("publishBatch", "application/cloudevents-batch+json"): [CLOUD],
    ("createApiKey", "application/json"): {"name": "n", "scopes": ["events:write"], "expires_at": None, "rate_limit": None},
    ("rotateApiKey", "application/json"): {"overlap_seconds": 5},
    ("createSubscription", "application/json"): {
        "workflow_id": "w",
        "event_types": ["never"],
        "selector": {"jsonpath": "$.a"},
        "mode": "both",
        "delivery": {
            "url": "http://127.0.0.1:9/",
            "ordering": {"per_key": "$.a"},
            "secret": None,
            "signature": "v1a",
            "headers": {"x-a": "1"},
            "timeout_ms": 5000,
            "retry": {"max_attempts": 3, "schedule": ["1s"]},
            "rate_limit": {"rate": "10/1s", "burst": 5},
            "batch": {"max_events": 2, "max_bytes": 1000, "max_wait_ms": 5},
        },
    },
    **{
        ("updateSubscription", kind): {
            "workflow_id": "w",
            "event_types": ["never"],
            "selector": {"jsonpath": "$.a"},
            "mode": "both",
            "delivery": {
                "url": "http://127.0.0.1:9/",
                "ordering": {"per_key": "$.a"},
                "headers": {"x-a": "1"},
                "timeout_ms": 5000,
                "retry": {"max_attempts": 3, "schedule": ["1s"]},
                "rate_limit": {"rate": "10/1s", "burst": 5},
                "batch": {"max_events": 2, "max_bytes": 1000, "max_wait_ms": 5},
            },
        }
        for kind in ("application/json", "application/merge-patch+json")
    },
    ("rotateSubscriptionSecret", "application/json"): {"overlap_seconds": 5, "secret": None, "signature": "v1a"},
    ("leaseDeliveries", "application/json"): {"lease_seconds": 1, "limit": 1, "wait_seconds": 0},
    ("acknowledgeDeliveries", "application/json"): {"lease_id": ID, "delivery_ids": [ID]},
    ("releaseDeliveries", "application/json"): {"lease_id": ID, "delivery_ids": [ID], "delay_seconds": 0},
    ("extendLease", "application/json"): {"lease_id": ID, "delivery_ids": None, "lease_seconds": 1},
    ("redriveDeadLetters", "application/json"): {"subscription_id": None, "event_types": ["never"], "from": None, "to": None, "rate": None, "dry_run": True},
    ("matchSelector", "application/json"): {
        "event_types": ["never"],
        "selector": {"pattern": {"a": [1]}, "jsonpath": "$.a"},
        "event": {"event_type": "never", "payload": 1},
        "last": None,
    },
    ("createReplay", "application/json"): {
        "subscription_id": "main() puts one here",
        "from": "2026-01-01T00:00:00Z",
        "to": None,
        "event_types": ["never"],
        "status": ["missing"],
        "rate": None,
        "dry_run": True,
    },
    ("putSchema", "application/json"): {"mode": "off", "schema": {}},
    ("createCustomer", "application/json"): {"name": "n", "plan": None, "rate_limit": None},
    ("updateCustomer", "application/json"): {"name": "n", "plan": None, "rate_limit": None},
    ("updateCustomer", "application/merge-patch+json"): {"name": "n", "plan": None, "rate_limit": None},
    ("createCustomerApiKey", "application/json"): {"name": "n", "scopes": ["events:write"], "expires_at": None, "rate_limit": None},
}

def operations():
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation


def without_names(value):
    """Each object in turn as the array of its values, in their order; GOOD has them in a struct's."""
    if isinstance(value, dict):
        yield list(value.values())
        yield list(value.values()) + [None] * 3
        for name, inner in value.items():
            for changed in without_names(inner):
                yield {**value, name: changed}
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            for changed in without_names(inner):
                yield [*value[:n], changed, *value[n + 1 :]]


def written(kind, body):
    if kind in LINES:
        return "".join(json.dumps(one) + "\n" for one in body)
    return json.dumps(body)


def main():
    asked, faults = 0, []
    customer_id = ask(client, "POST", "/v1/customers", json={"name": "shapes"}).json()["id"]
    key_id = ask(client, "POST", "/v1/api-keys", json={"name": "shapes", "scopes": ["events:read"]}).json()["id"]
    new = {"workflow_id": "shapes", "event_types": ["never"], "mode": "both", "delivery": {"url": "http://127.0.0.1:9/"}}
    subscription_id = ask(client, "POST", "/v1/subscriptions", json=new).json()["id"]
    GOOD["createReplay", "application/json"]["subscription_id"] = subscription_id
    ids = {"/v1/customers": customer_id, "/v1/subscriptions": subscription_id}
    for method, path, operation in operations():
        name = operation["operationId"]
        content = operation.get("requestBody", {}).get("content", {})
        address = path.replace("{event_type}", "shape")
        address = address.replace("{id}", next((id for start, id in ids.items() if path.startswith(start)), key_id))
        for kind, media in content.items():
            true(f"shapes.py knows a good body for {name}, {kind}", (name, kind) in GOOD, sorted(GOOD))
            good = GOOD[name, kind]

            def send(body):
                return ask(client, method, address, data=written(kind, body).encode(), headers={"Content-Type": kind})

            answer = send(good)
            true(f"{name}, {kind}: the good body is taken: {answer.text[:300]}", answer.ok, answer.status_code)
            schema = {**media["schema"], "components": document["components"]} if "schema" in media else None
            judge = jsonschema.Draft202012Validator(schema) if schema and kind not in LINES else None
            for body in without_names(good):
                # What the document allows (a payload is any JSON) is none of these.
                if judge and judge.is_valid(body):
                    continue
                if kind in LINES and not isinstance(body[0], list):
                    continue
                asked += 1
                answer = send(body)
                refused = answer.status_code in (400, 422) or (
                    answer.status_code == 207 and answer.json()["accepted"] == 0
                )
                if not refused:
                    faults.append(f"{method} {path} ({kind}) {json.dumps(body)}\n    -> {answer.status_code} {answer.text[:160]}")
    told = "".join(f"\n  {fault}" for fault in faults)
    said.unless_known("shapes: arrays for objects", lambda: true(f"arrays for objects are refused; these were not:{told}", not faults, f"{len(faults)} of {asked}"))

    # A parameter that nobody declared: refused by each of them, before anything is done.
    for method, path, operation in operations():
        address = path.replace("{event_type}", "shape").replace("{id}", key_id).replace("{key}", key_id)
        asked += 1
        said.problem(f"{method} {path}?nobody=1", ask(client, method, f"{address}?nobody=1"), 400, "invalid-parameter")
    print(f"shapes: of {asked} bodies with arrays for objects, and unknown parameters, {len(faults)} were not refused")


main()
