"""CloudEvents as CNCF's Python package makes them: both of its interfaces, in each mode that it has."""

import json
import uuid
from datetime import datetime, timedelta, timezone

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion as older
from cloudevents.v1.http import CloudEvent as OlderCloudEvent

import said
from said import ask, equal, true

client = said.session()
BASE = {
    "type": "com.example.order.created",
    "source": "/shop/berlin",
    "subject": "order 17 – Zoë, 100 % \"sure\"",
    "time": datetime(2026, 1, 1, 2, 0, 0, 123000, tzinfo=timezone(timedelta(hours=2))),
}


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def attributes(**more):
    return {**BASE, "id": str(uuid.uuid4()), **more}


def post(what, headers, body, status=202, path="/v1/events"):
    answer = ask(client, "POST", path, headers=dict(headers), data=body)
    equal(f"{what}: status of {answer.text[:400]}", answer.status_code, status)
    return answer


def same(what, event_id, expected, data):
    event = said.stored(client, event_id)
    for ours, theirs in {"event_type": "type", "source": "source", "subject": "subject"}.items():
        equal(f"{what}: {theirs}", event.get(ours), expected.get(theirs))
    if "time" in expected:
        equal(f"{what}: time", instant(event["occurred_at"]), expected["time"])
    equal(f"{what}: data", event["payload"], data)


# Data of every kind that JSON has; the library takes some of them only as bytes.
DATA = [{"total": 120, "note": "für Zoë"}, {}, [1, [2, {}], None], "text", 1.5, True]


def main():
    sent = 0
    # What the library makes of an event, for each of the modes.
    makers = {
        "structured": lambda a, d: (to_structured_event(CloudEvent(dict(a), d))),
        "binary": lambda a, d: (to_binary_event(CloudEvent(dict(a), d))),
    }
    for mode, make in makers.items():
        for data in DATA:
            what = f"{mode}, {json.dumps(data)}"
            # In binary mode the library writes everything but objects as Python would; hand it JSON.
            given = data if mode == "structured" or isinstance(data, dict) else json.dumps(data).encode()
            wanted = attributes(datacontenttype="application/json")
            message = make(wanted, given)
            answer = post(what, message.headers, message.body)
            equal(f"{what}: X-Event-ID", answer.headers["X-Event-ID"], answer.json()["event_id"])
            equal(f"{what}: status", answer.json()["status"], "accepted")
            same(what, answer.json()["event_id"], wanted, data)
            sent += 1

    # Bytes: structured mode makes data_base64 of them.
    wanted = attributes(datacontenttype="application/json")
    message = makers["structured"](wanted, b'{"total": 1}')
    true("bytes travel as data_base64", "data_base64" in json.loads(message.body), message.body)
    same("data_base64", post("data_base64", message.headers, message.body).json()["event_id"], wanted, {"total": 1})

    # No data, no subject, no datacontenttype; extensions of each type that JSON has for them.
    for mode, make in makers.items():
        least = attributes()
        del least["subject"]
        message = make(least, None)
        if mode == "binary":
            message.headers.setdefault("content-type", "application/json")
        same(f"{mode}, the least", post(f"{mode}, the least", message.headers, message.body).json()["event_id"], least, None)
        extended = attributes(datacontenttype="application/json", sequence="7", dataschema="https://example.com/s", tenant="a b")
        message = make(extended, {})
        same(f"{mode}, extensions", post(f"{mode}, extensions", message.headers, message.body).json()["event_id"], extended, {})
        sent += 2

    # The package's older interface, which most programs still use.
    for mode, make in {"older structured": older.to_structured, "older binary": older.to_binary}.items():
        # It takes `time` as text; its binary mode doesn't percent-encode, so no umlaut can travel.
        wanted = attributes(subject="order 17", datacontenttype="application/json")
        headers, body = make(OlderCloudEvent({**wanted, "time": wanted["time"].isoformat()}, {"total": 3}))
        same(mode, post(mode, headers, body).json()["event_id"], wanted, {"total": 3})
        sent += 1
    print(f"cloudevents (Python): {sent + 1} events, structured and binary, read back as they were sent")

    # The library makes no batches: an array of what it makes (JSON Event Format §4).
    wanted = [attributes(datacontenttype="application/json") for _ in range(3)]
    bodies = [to_structured_event(CloudEvent(dict(a), {"n": n})).body for n, a in enumerate(wanted)]
    for path in ("/v1/events", "/v1/events/batch"):
        headers = {"Content-Type": "application/cloudevents-batch+json"}
        answer = post(f"batch to {path}", headers, b"[" + b",".join(bodies) + b"]", path=path).json()
        equal(f"batch to {path}: counts", (answer["accepted"], answer["rejected"]), (3, 0))
        for n, result in enumerate(answer["results"]):
            same(f"batch to {path}, {n}", result["event_id"], wanted[n], {"n": n})
        bad = json.dumps({"specversion": "1.0", "id": "1", "type": "x", "data": 1}).encode()
        answer = post(f"batch with a bad one to {path}", headers, b"[" + bodies[0] + b"," + bad + b"]", 207, path).json()
        equal("statuses of a batch with a bad one", [r["status"] for r in answer["results"]], ["accepted", "rejected"])
        true("the bad one's problem names source", "source" in json.dumps(answer["results"][1]["problem"]), answer)
    print("cloudevents (Python): batches of 3 by both paths; one without source is refused alone")

    # What isn't a CloudEvent 1.0 with JSON is refused, and said to be.
    message = makers["binary"](attributes(datacontenttype="text/plain"), "hello")
    said.problem("text", post("text", message.headers, message.body, 415), 415, "unsupported-media-type")
    message = makers["structured"](attributes(datacontenttype="text/plain"), "hello")
    said.problem("text inside", post("text inside", message.headers, message.body, 415), 415, "unsupported-media-type")
    message = makers["structured"](attributes(), {})
    future = {**json.loads(message.body), "specversion": "2.0"}
    answer = post("specversion 2.0", message.headers, json.dumps(future), 400)
    equal("specversion 2.0: pointer", answer.json()["errors"][0]["pointer"], "/specversion")

    # An Idempotency-Key goes with each mode; the modes say the same of the same event.
    key, wanted = str(uuid.uuid4()), attributes(datacontenttype="application/json")
    ids = []
    for n, (mode, make) in enumerate([*makers.items(), *makers.items()]):
        # The same bytes in both modes, so that it is the same payload.
        message = make(wanted, b'{"total": 120}')
        answer = post(f"{mode} with a key", {**message.headers, "Idempotency-Key": key}, message.body)
        equal(f"{mode} with a key: replayed", answer.headers.get("Idempotent-Replayed"), "true" if n else None)
        ids.append(answer.headers["X-Event-ID"])
    equal("ids of a repeated event", len(set(ids)), 1)
    print("cloudevents (Python): refusals are problem documents; an Idempotency-Key holds over both modes")


main()
