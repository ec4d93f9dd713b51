"""How the tests here compare and tell, and what they know of the gateway that api.sh started."""

import os
import time

import requests

from known import KNOWN

HTTP = os.environ.get("TL_HTTP", "")
GRPC = os.environ.get("TL_GRPC", "")
KEY = os.environ.get("TL_KEY", "")
# Until that is mended, no client keeps a connection, or now and then a request is lost.
PER_REQUEST = {"Connection": "close"} if "connections: a refusal ends them unsaid" in KNOWN else {}


def equal(what, found, expected):
    if found != expected:
        raise SystemExit(f"FAILED: {what}\n  expected: {expected!r}\n  found:    {found!r}")


def true(what, condition, found=""):
    if not condition:
        raise SystemExit(f"FAILED: {what}\n  found:    {found!r}")


def unless_known(name, check):
    """A check that may fail while KNOWN has it, and must while it does."""
    try:
        check()
    except SystemExit as failure:
        if name not in KNOWN:
            raise
        print(f"known: {name}: {KNOWN[name]}\n  {str(failure).splitlines()[-1].strip()[:200]}")
        return
    true(f"{name} holds, so it must go from tests/clients/known.py", name not in KNOWN, KNOWN.get(name))


def session(key=KEY):
    """A client with a key. `trust_env` is off: a proxy or a .netrc of the machine is none of ours."""
    client = requests.Session()
    client.trust_env = False
    client.headers.update(PER_REQUEST)
    if key:
        client.headers["Authorization"] = f"Bearer {key}"
    return client


def ask(client, method, path, **more):
    return client.request(method, f"http://{HTTP}{path}", timeout=30, **more)


def problem(what, answer, status, name):
    """An error that is told as docs/errors says."""
    equal(f"{what}: status of {answer.text[:300]}", answer.status_code, status)
    equal(f"{what}: content type", answer.headers["Content-Type"], "application/problem+json")
    document = answer.json()
    equal(f"{what}: type", document["type"], f"/docs/errors/{name}")
    equal(f"{what}: status in the document", document["status"], status)
    true(f"{what}: title and detail are texts", document["title"] and document["detail"], document)
    equal(f"{what}: instance", document["instance"], f"urn:triggerline:request:{answer.headers['X-Request-Id']}")
    return document


def until(what, found):
    """What `found` returns, once it isn't None."""
    end = time.monotonic() + 60
    while True:
        value = found()
        if value is not None:
            return value
        true(f"{what} within 60 s", time.monotonic() < end)
        time.sleep(0.02)


def stored(client, event_id):
    """The event as the inbox shows it, as soon as storage has it."""

    def found():
        answer = ask(client, "GET", f"/v1/events/{event_id}")
        if answer.status_code == 200:
            return answer.json()
        equal(f"GET /v1/events/{event_id} while it isn't stored: {answer.text}", answer.status_code, 404)

    return until(f"event {event_id} is stored", found)
