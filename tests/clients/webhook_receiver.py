"""A receiver as one writes it with `standardwebhooks` (PyPI). It prints its port, then serves:

PUT  /hook  the secret that it verifies with from now on
POST /hook  a webhook. 204; 401 where it is not genuine; 503 for the first attempt at a payload with `fail`
GET  /hook  everything that came, in order
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")
secrets = {}
seen = []


def verified(body, headers):
    """Why it is not genuine, if it isn't."""
    webhook = Webhook(secrets["/hook"])
    try:
        webhook.verify(body, headers)
    except WebhookVerificationError as error:
        return str(error)
    try:
        webhook.verify(body[:-1] + b" }", headers)
    except WebhookVerificationError:
        return None
    return "another body is genuine as well"


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def do_PUT(self):
        secrets[self.path] = self.body().decode()
        self.answer(204)

    def do_POST(self):
        body, headers = self.body(), {name: self.headers.get(name, "") for name in NAMES}
        fault, event = verified(body, headers), json.loads(body)
        one_id = headers["webhook-id"]
        again = any(one["id"] == one_id for one in seen)
        fail = event["payload"].get("fail") and not again
        status = 401 if fault else 503 if fail else 204
        signatures = headers["webhook-signature"].split(" ")
        seen.append({"id": one_id, "event": event["event_id"], "payload": event["payload"], "status": status,
                     "signatures": signatures, "timestamp": int(headers["webhook-timestamp"]), "fault": fault})
        self.answer(status)

    def do_GET(self):
        self.answer(200, json.dumps(seen).encode())

    def answer(self, status, body=b""):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
