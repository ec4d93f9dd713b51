// A receiver as one writes it with `standardwebhooks` or `svix` (npm; the first argument says which), or
// with Node's own `crypto` for ed25519, which neither of them knows. What it serves stands in webhook_receiver.py.

import { createServer } from "node:http";

import { createPublicKey, verify } from "node:crypto";

class WebhookVerificationError extends Error {}

// Standard Webhooks, v1a: the key is "whpk_" and the base64 of its 32 bytes.
class Ed25519Webhook {
    constructor(text) {
        const x = Buffer.from(text.replace(/^whpk_/, ""), "base64").toString("base64url");
        this.key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
    }

    verify(body, headers) {
        const signed = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
        for (const one of headers["webhook-signature"].split(" ")) {
            const [version, signature] = one.split(",");
            if (version === "v1a" && verify(null, signed, this.key, Buffer.from(signature, "base64"))) return;
        }
        throw new WebhookVerificationError("No matching signature found");
    }
}

const library =
    process.argv[2] === "node:crypto" ? { Webhook: Ed25519Webhook, WebhookVerificationError } : await import(process.argv[2]);
const seen = [];
let secret;

// Why it is not genuine, if it isn't.
function verified(body, headers) {
    const webhook = new library.Webhook(secret);
    const refused = (body) => {
        try {
            webhook.verify(body, headers);
            return null;
        } catch (error) {
            if (error instanceof library.WebhookVerificationError) return error.message;
            throw error;
        }
    };
    return refused(body) ?? (refused(`${body.slice(0, -1)} }`) ? null : "another body is genuine as well");
}

const server = createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const body = Buffer.concat(pieces).toString();
    if (request.method === "PUT") {
        secret = body;
        response.writeHead(204).end();
    } else if (request.method === "GET") {
        response.writeHead(200).end(JSON.stringify(seen));
    } else {
        const fault = verified(body, request.headers);
        const { event_id: event, payload } = JSON.parse(body);
        const id = request.headers["webhook-id"];
        const fail = payload.fail && !seen.some((one) => one.id === id);
        const status = fault ? 401 : fail ? 503 : 204;
        const signatures = request.headers["webhook-signature"].split(" ");
        const timestamp = Number(request.headers["webhook-timestamp"]);
        seen.push({ id, event, payload, status, signatures, timestamp, fault });
        response.writeHead(status).end();
    }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
