"""A connection that is kept after a refusal: the next request on it is answered, or it was said to end.

Clients with a pool of connections (requests, Go's, Java's) write headers and body one after the other.
The gateway may refuse before the body is there; if it then closes without `Connection: close`
(RFC 9112 §9.6), the client's next request is lost, and a POST is not sent again by itself.
"""

import socket

import said
from said import HTTP, KEY, equal

host, port = HTTP.split(":")
KEYED = f"Authorization: Bearer {KEY}\r\nContent-Type: "
REFUSALS = [
    ("401", "POST /v1/events", "Content-Type: application/json"),
    ("404", "POST /v1/nowhere", f"{KEYED}application/json"),
    ("404", "POST /v1/api-keys/x/rotate", f"{KEYED}application/json"),
    ("405", "DELETE /v1/events", f"{KEYED}application/json"),
    ("415", "POST /v1/events", f"{KEYED}text/plain"),
    ("400", "POST /v1/events", f"{KEYED}application/json\r\nIdempotency-Key: {'x' * 300}"),
]


def answer(reader):
    """Status and fields of one answer; its body is read past."""
    status = reader.readline().decode().split(" ", 2)
    if len(status) < 2:
        return None, {}
    fields = {}
    while line := reader.readline().strip():
        name, _, value = line.decode().partition(":")
        fields[name.lower()] = value.strip().lower()
    reader.read(int(fields.get("content-length", 0)))
    return status[1], fields


def second(line, fields):
    """What came of a first request, and of a second one on the same connection."""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        connection.sendall(f"{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\nContent-Length: 5\r\n\r\n".encode())
        first = None
        try:
            # As if the body were under way for a moment: the refusal comes first.
            first, told = answer(reader)
            if told.get("connection") == "close":
                return first, "said to end"
            connection.sendall(b"hello")
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            return first, "answered" if answer(reader)[0] == "200" else "lost"
        except OSError:
            return first, "lost"


def main():
    lost = []
    for status, line, fields in REFUSALS:
        first, next_one = second(line, fields)
        # Whoever waits for the body before refusing isn't at fault: nothing came within the time.
        if first is not None:
            equal(f"{line}: status", first, status)
        if next_one == "lost":
            lost.append(f"{status} {line}")
    said.unless_known(
        "connections: a refusal ends them unsaid",
        lambda: equal("refusals after which the next request on the connection is lost", lost, []),
    )
    print(f"connections: after {len(REFUSALS)} refusals before the body, {len(lost)} lost the next request")


main()
