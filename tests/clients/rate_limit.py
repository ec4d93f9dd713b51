"""RateLimit fields, read by a parser of structured fields (RFC 9651) that isn't ours.

They are those of draft-ietf-httpapi-ratelimit-headers-10: lists of strings with parameters.
"""

import os
import time

import http_sf

import said
from said import ask, equal, true


def items(what, answer, field):
    """One field of an answer: what is in the list, by its name."""
    true(f"{what}: has {field}", field in answer.headers, dict(answer.headers))
    text = answer.headers[field]
    try:
        parsed = http_sf.parse(text.encode(), tltype="list")
    except http_sf.StructuredFieldError as error:
        raise SystemExit(f"FAILED: {what}: {field} is a list (RFC 9651)\n  found:    {text!r}: {error}") from None
    equal(f"{what}: items of {field}", len(parsed), 1)
    true(f"{what}: the item of {field} is a string", type(parsed[0][0]) is str, parsed)
    equal(f"{what}: {field}, written by the other library", http_sf.ser(parsed), text)
    return {name: parameters for name, parameters in parsed}


def standing(what, answer, quota, window):
    """What remains, after all that must hold of every answer."""
    policy = items(what, answer, "RateLimit-Policy")
    limit = items(what, answer, "RateLimit")
    equal(f"{what}: the limit is one of the policies", list(limit), list(policy))
    (name,) = policy
    for field, parameters, wanted in (("policy", policy[name], {"q", "w"}), ("limit", limit[name], {"r", "t"})):
        true(f"{what}: {field} has {wanted}", wanted <= set(parameters), parameters)
        for key in wanted:
            true(f"{what}: {key} is an integer, not negative", type(parameters[key]) is int and parameters[key] >= 0, parameters)
    equal(f"{what}: q and w", (policy[name]["q"], policy[name]["w"]), (quota, window))
    true(f"{what}: r is at most q", limit[name]["r"] <= quota, limit)
    return limit[name]["r"], limit[name]["t"]


def refused(what, answer):
    said.problem(what, answer, 429, "rate-limited")
    after = answer.headers.get("Retry-After", "")
    true(f"{what}: Retry-After is a whole number, at least 1", after.isascii() and after.isdigit() and int(after) >= 1, after)
    return int(after)


def main():
    # A customer with 20/1m. Each kind of answer counts, and says what remains.
    key = os.environ["TL_LIMITED_KEY"]
    client = said.session(key)
    event = {"event_type": "order.created", "payload": {}}
    kinds = [
        ("202", lambda: ask(client, "POST", "/v1/events", json=event), 202, 1),
        ("200", lambda: ask(client, "GET", "/v1/inbox"), 200, 1),
        ("400", lambda: ask(client, "POST", "/v1/events", json={}), 400, 1),
        ("403", lambda: ask(client, "GET", "/v1/customers"), 403, 1),
        ("404", lambda: ask(client, "GET", "/v1/subscriptions/01890a5d-ac96-774b-bcce-b302099a8057"), 404, 1),
        ("415", lambda: ask(client, "POST", "/v1/events", data="x", headers={"Content-Type": "text/plain"}), 415, 1),
        ("batch of 4", lambda: ask(client, "POST", "/v1/events/batch", json=[event] * 4), 202, 4),
    ]
    began, left, answers = time.monotonic(), 20, 0
    for what, call, status, cost in kinds * 2:
        answer = call()
        equal(f"{what}: status of {answer.text[:300]}", answer.status_code, status)
        remains, resets = standing(what, answer, 20, 60)
        answers += 1
        if time.monotonic() - began < 5:
            equal(f"{what}: what remains of {left} after {cost}", remains, left - cost)
        true(f"{what}: less remains than before", remains < left, (left, remains))
        # A hundredth longer for what is taken in advance, another for a slice of the window that has
        # begun (crates/store/src/cache/window.rs): 61.2, in whole seconds.
        true(f"{what}: t is from 1 to 62 s", 1 <= resets <= 62, resets)
        left = remains
    equal("what remains in the end", left, 0)
    for call in (kinds[0][1], kinds[1][1], kinds[-1][1]):
        answer = call()
        after = refused("the 21st", answer)
        remains, resets = standing("the 21st", answer, 20, 60)
        equal("the 21st: nothing remains", remains, 0)
        true("Retry-After is from 1 to 62 s", after <= 62, after)
        answers += 1
    # No key, no limit to tell of.
    answer = ask(said.session(key=None), "GET", "/v1/inbox")
    said.problem("no key", answer, 401, "unauthorized")
    true("no key: no RateLimit", "RateLimit" not in answer.headers, dict(answer.headers))
    equal("no key: WWW-Authenticate", answer.headers["WWW-Authenticate"], "Bearer")
    # Unused: another key of the same customer. "It counts for each key."
    answer = ask(said.session(os.environ["TL_LIMITED_KEY_2"]), "GET", "/v1/inbox")
    equal("the customer's other key has its own", standing("other key", answer, 20, 60)[0], 19)
    print(f"rate limit: {answers} answers of 20/1m parse as structured fields; r falls to 0, then 429 with Retry-After")

    # 3 in 2 s, by the key's own limit: whoever waits as long as Retry-After says gets in again.
    client = said.session(os.environ["TL_SHORT_KEY"])
    waited = []

    def use_up():
        """Until the next is refused, which on a slow machine may be more than 3."""
        began, taken = time.monotonic(), 0
        while (answer := ask(client, "POST", "/v1/events", json=event)).status_code == 202:
            taken += 1
            true("no more than 3 in 2 s", taken <= 3 or time.monotonic() - began >= 2, taken)
        return refused("one more than 3 in 2 s", answer)

    for _ in range(2):
        waited.append(use_up())
        time.sleep(waited[-1])
        answer = ask(client, "POST", "/v1/events", json=event)
        equal(f"after Retry-After: {answer.text}", answer.status_code, 202)
    # A batch over the quota never fits: there is no time to wait, once its request itself does.
    time.sleep(use_up())
    answer = ask(client, "POST", "/v1/events/batch", json=[event] * 4)
    said.problem("a batch of 4 with a quota of 3", answer, 429, "rate-limited")
    true("a batch of 4 with a quota of 3: no Retry-After", "Retry-After" not in answer.headers, dict(answer.headers))
    print(f"rate limit: 3/2s opens again after the {waited} s that Retry-After said; a batch over the quota never fits")


main()
