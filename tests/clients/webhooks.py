"""Webhooks as their receivers' own libraries verify them: each delivery of a run, a retry and a rotation with it.

One receiver for each library ([webhook_receiver.py], [webhook_receiver.mjs]), each with a subscription
of its own.
"""

import json
import os
import subprocess
import sys

from said import ask, equal, session, stored, true, until

HERE, WORLD = os.environ["TL_CLIENTS"], os.environ["TL_WORLD"]
V1A = "ed25519 (Node)"
LIBRARIES = {
    "standardwebhooks (PyPI)": [sys.executable, f"{HERE}/webhook_receiver.py"],
    "standardwebhooks (npm)": ["node", f"{WORLD}/webhook_receiver.mjs", "standardwebhooks"],
    "svix (npm)": ["node", f"{WORLD}/webhook_receiver.mjs", "svix"],
    # Neither library knows v1a: the platform's own ed25519 does.
    V1A: ["node", f"{WORLD}/webhook_receiver.mjs", "node:crypto"],
}
# As JSON libraries would not write them: what is signed is what was handed in.
PAYLOADS = ['{"n":1}', '{ "n" : 1e2 }', '{"name":"Zo\\u00eb"}', '{"name":"Zoë 🎁"}', '{"n":[1,{"n":[]}],"n":null}']

client, plain = session(), session("")


class Receiver:
    def __init__(self, name, command):
        self.name, self.type = name, f"verified.{len(everyone)}"
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/hook"
        # A retry after a second: the installation's own waits for five.
        wanted = {"url": self.url, "retry": {"schedule": ["2s"]}, "signature": "v1a" if name == V1A else "v1"}
        body = {"workflow_id": "verified", "event_types": [self.type], "delivery": wanted}
        made = ask(client, "POST", "/v1/subscriptions", json=body)
        equal(f"{name}: {made.text}", made.status_code, 201)
        self.id = made.json()["id"]
        self.verify_with(made.json()["secret"])

    def verify_with(self, secret):
        equal(f"{self.name}: a secret", plain.put(self.url, data=secret, timeout=30).status_code, 204)

    def seen(self):
        return plain.get(self.url, timeout=30).json()

    def publish(self, payload):
        body = f'{{"event_type":"{self.type}","payload":{payload}}}'.encode()
        answer = ask(client, "POST", "/v1/events", data=body, headers={"Content-Type": "application/json"})
        equal(f"{self.name}: {answer.text}", answer.status_code, 202)
        return answer.json()["event_id"]

    def settled(self, event):
        """Its status, as soon as nothing more becomes of it."""
        def status():
            now = stored(client, event)["status"]
            return now if now in ("delivered", "failed", "unmatched") else None
        return until(f"{self.name}: {event} is settled", status)

    def deliver(self, payload='{"n":0}'):
        """Publishes an event and returns what came of it at the receiver: each attempt."""
        event = self.publish(payload)
        return self.settled(event), [one for one in self.seen() if one["event"] == event]

    def rotate(self, **body):
        answer = ask(client, "POST", f"/v1/subscriptions/{self.id}/rotate-secret", json=body)
        equal(f"{self.name}: {answer.text}", answer.status_code, 200)
        return answer.json()["secret"]


everyone = []


def check(receiver):
    name = receiver.name

    def delivered(what, payload='{"n":0}', signatures=1):
        status, attempts = receiver.deliver(payload)
        equal(f"{name}: {what}", (status, [one["status"] for one in attempts]), ("delivered", [204]))
        equal(f"{name}: {what}: signatures", len(attempts[0]["signatures"]), signatures)

    # From within a second on it is matched.
    until(f"{name}: the subscription is matched", lambda: receiver.deliver()[0] == "delivered" or None)
    for payload in PAYLOADS:
        delivered(f"payload {payload}", payload)
    # Tried again: the same id, signed at its own time.
    status, attempts = receiver.deliver('{"fail":true}')
    equal(f"{name}: retried", (status, [one["status"] for one in attempts]), ("delivered", [503, 204]))
    first, second = attempts
    equal(f"{name}: the id of a retry", second["id"], first["id"])
    true(f"{name}: the timestamp of a retry is the retry's", second["timestamp"] > first["timestamp"], attempts)
    true(f"{name}: and so is its signature", second["signatures"] != first["signatures"], attempts)

    # Both secrets sign for a day. The receiver has not changed over yet.
    new = receiver.rotate()

    def both_sign():
        status, [one] = receiver.deliver()
        equal(f"{name}: while the secret is rotated: {one['fault']}", status, "delivered")
        return len(one["signatures"]) == 2 or None

    until(f"{name}: both secrets sign", both_sign)
    for payload in PAYLOADS:
        delivered(f"before the receiver changes over, payload {payload}", payload, 2)
    # It changes over between an attempt and the next.
    event = receiver.publish('{"fail":true}')
    attempt = until(f"{name}: a first attempt", lambda: next((o for o in receiver.seen() if o["event"] == event), None))
    equal(f"{name}: the first attempt", attempt["status"], 503)
    receiver.verify_with(new)
    equal(f"{name}: the next attempt", receiver.settled(event), "delivered")
    for payload in PAYLOADS:
        delivered(f"after the receiver changed over, payload {payload}", payload, 2)
    seen = receiver.seen()
    equal(f"{name}: everything was genuine", [one for one in seen if one["fault"]], [])

    # The old ones end at once: what they signed alone is no longer sent, nor taken.
    newest = receiver.rotate(overlap_seconds=0)
    until(f"{name}: the old secret is refused", lambda: receiver.deliver()[0] == "failed" or None)
    receiver.verify_with(newest)
    delivered("with the newest secret")
    refused = [one["fault"] for one in receiver.seen() if one["fault"]]
    true(f"{name}: nothing else was refused", set(refused) == {"No matching signature found"}, refused)
    ids = {one["id"] for one in seen}
    print(f"webhooks: {name}: {len(seen)} requests of {len(ids)} deliveries verified, 2 retries, a rotation with overlap")


def main():
    try:
        for name, command in LIBRARIES.items():
            everyone.append(Receiver(name, command))
        for receiver in everyone:
            check(receiver)
    finally:
        for receiver in everyone:
            receiver.process.kill()
            receiver.process.wait()


main()
