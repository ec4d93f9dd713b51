// The reference of `bench gateway`: what a team would write in an afternoon. fastify and kafkajs;
// the body is checked by a schema, the key looked up in a map, a limit counted in memory, and the
// answer is 202 after acks=-1. Simpler than ours, not slower than it need be: kafkajs has no
// queue that gathers records of several requests (its producer sends what each call gives it).
import Fastify from 'fastify';
import { Kafka, CompressionTypes, logLevel } from 'kafkajs';
import { randomUUID } from 'node:crypto';

const { KAFKA, TOPIC, KEY } = process.env;
const kafka = new Kafka({ clientId: 'peer', brokers: KAFKA.split(','), logLevel: logLevel.ERROR });
const producer = kafka.producer();
await producer.connect();

const keys = new Map([[KEY, { customer: randomUUID(), limit: 1e9, used: 0, reset: 0 }]]);
const schema = {
  body: {
    type: 'object',
    required: ['event_type', 'payload'],
    additionalProperties: false,
    properties: {
      event_type: { type: 'string', maxLength: 255, pattern: '^[A-Za-z0-9._/:-]+$' },
      payload: {},
      source: { type: 'string' },
      subject: { type: 'string' },
    },
  },
};

const app = Fastify();
app.post('/v1/events', { schema }, async (request, reply) => {
  const key = keys.get((request.headers.authorization ?? '').slice('Bearer '.length));
  if (!key) return reply.code(401).send({ title: 'unauthorized' });
  const now = Date.now();
  if (now > key.reset) {
    key.reset = now + 1000;
    key.used = 0;
  }
  if (++key.used > key.limit) return reply.code(429).send({ title: 'rate-limited' });
  const id = randomUUID();
  const at = new Date(now).toISOString();
  const { event_type, payload, source, subject } = request.body;
  const headers = {
    ce_specversion: '1.0', ce_id: id, ce_type: event_type, ce_source: source ?? 'api', ce_time: at,
    ce_subject: subject ?? '', 'content-type': 'application/json',
  };
  await producer.send({
    topic: TOPIC,
    acks: -1,
    compression: CompressionTypes.None,
    messages: [{ key: key.customer, value: JSON.stringify(payload), headers }],
  });
  return reply.code(202).header('x-event-id', id).send({ event_id: id, status: 'accepted', received_at: at });
});

await app.listen({ host: '127.0.0.1', port: 0 });
const { address, port } = app.server.address();
console.log(`${address}:${port}`);
