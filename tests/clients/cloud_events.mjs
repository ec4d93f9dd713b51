// CloudEvents as CNCF's JavaScript package makes and sends them: HTTP.structured, HTTP.binary and emitterFor.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { CloudEvent, HTTP, Mode, emitterFor, httpTransport } from "cloudevents";

const { TL_HTTP, TL_KEY } = process.env;
const base = `http://${TL_HTTP}`;
const authorization = `Bearer ${TL_KEY}`;

async function post(what, message, status = 202, path = "/v1/events") {
    const headers = { ...message.headers, authorization };
    const answer = await fetch(base + path, { method: "POST", headers, body: message.body });
    const text = await answer.text();
    assert.equal(answer.status, status, `${what}: status of ${text}`);
    return { headers: answer.headers, body: JSON.parse(text) };
}

// The event as the inbox shows it, as soon as storage has it.
async function stored(id) {
    for (const end = Date.now() + 60_000; ; ) {
        const answer = await fetch(`${base}/v1/events/${id}`, { headers: { authorization } });
        if (answer.status === 200) return answer.json();
        assert.equal(answer.status, 404, `GET /v1/events/${id} while it isn't stored: ${await answer.text()}`);
        assert.ok(Date.now() < end, `event ${id} is stored within 60 s`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

async function same(what, id, event, data = event.data) {
    const found = await stored(id);
    assert.equal(found.event_type, event.type, `${what}: type`);
    assert.equal(found.source, event.source, `${what}: source`);
    assert.equal(found.subject ?? undefined, event.subject, `${what}: subject`);
    assert.equal(Date.parse(found.occurred_at), Date.parse(event.time), `${what}: time`);
    assert.deepEqual(found.payload, data, `${what}: data`);
}

const make = (more) => new CloudEvent({
    type: "com.example.order.created",
    source: "/shop/berlin",
    subject: "order 17, 100% sure",
    time: "2026-01-01T02:00:00.123+02:00",
    datacontenttype: "application/json",
    ...more,
});

let sent = 0;
for (const [mode, write] of [["structured", HTTP.structured], ["binary", HTTP.binary]]) {
    // Structured mode is JSON: all of Unicode. In binary mode the package writes headers as they
    // are, so what is not ASCII is ours to encode, as the HTTP binding says (§3.1.3.2).
    const subjects = mode === "structured" ? ["order 17 – für Zoë"] : ["order-17"];
    for (const data of [{ total: 120, note: "für Zoë" }, {}, [1, [2, {}], null]]) {
        for (const subject of subjects) {
            const event = make({ data, subject });
            const what = `${mode}, ${JSON.stringify(data)}`;
            const { headers, body } = await post(what, write(event));
            assert.equal(headers.get("x-event-id"), body.event_id, `${what}: X-Event-ID`);
            assert.equal(body.status, "accepted", what);
            await same(what, body.event_id, event);
            sent++;
        }
    }
    // Numbers and truth values: the package writes them only in structured mode.
    for (const data of mode === "structured" ? ["text", 1.5, true] : []) {
        const event = make({ data });
        await same(`${mode}, ${data}`, (await post(`${mode}, ${data}`, write(event))).body.event_id, event);
        sent++;
    }
    const extended = make({ data: {}, sequence: "7", urgent: true, retries: 3, dataschema: "https://example.com/s" });
    await same(`${mode}, extensions`, (await post(`${mode}, extensions`, write(extended))).body.event_id, extended);
    const least = new CloudEvent({ type: "a", source: "b", data: {} });
    await same(`${mode}, the least`, (await post(`${mode}, the least`, write(least))).body.event_id, least);
    sent += 2;
}

// Bytes: data_base64 in structured mode, as they are in binary mode.
const bytes = make({ data: new Uint8Array(Buffer.from('{"total": 1}')) });
for (const [mode, write] of [["structured", HTTP.structured], ["binary", HTTP.binary]]) {
    const message = write(bytes);
    assert.equal(mode === "structured", String(message.body).includes("data_base64"), `${mode}: how bytes travel`);
    await same(`${mode}, bytes`, (await post(`${mode}, bytes`, message)).body.event_id, bytes, { total: 1 });
    sent++;
}
console.log(`cloudevents (JavaScript): ${sent} events, structured and binary, read back as they were sent`);

// The package's own transport and emitter.
for (const mode of [Mode.BINARY, Mode.STRUCTURED]) {
    const emit = emitterFor(httpTransport(`${base}/v1/events`), { binding: HTTP, mode });
    const event = make({ data: { mode } });
    const { body } = await emit(event, { headers: { authorization } });
    await same(`emitterFor, ${mode}`, JSON.parse(body).event_id, event);
}

// A batch is an array of what it makes; it reads such a batch too, so what we send is one to it.
const events = [1, 2, 3].map((n) => make({ data: { n } }));
const batch = {
    headers: { "content-type": "application/cloudevents-batch+json" },
    body: JSON.stringify(events),
};
assert.equal(HTTP.toEvent(batch).length, 3);
const { body } = await post("batch", batch);
assert.equal(body.accepted, 3);
for (const [n, result] of body.results.entries()) await same(`batch, ${n}`, result.event_id, events[n]);

// Twice with a key: the same event.
const key = randomUUID();
const message = HTTP.structured(make({ data: { total: 7 } }));
message.headers["idempotency-key"] = key;
const first = await post("with a key", message);
const again = await post("again", message);
assert.equal(again.headers.get("idempotent-replayed"), "true");
assert.equal(again.body.event_id, first.body.event_id);
console.log("cloudevents (JavaScript): emitterFor in both modes, a batch of 3, and a repetition by Idempotency-Key");
