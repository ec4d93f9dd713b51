// The reference of `bench sending`: BullMQ and undici, 64 jobs at once. Each job is signed as
// Standard Webhooks wants it, sent, and kept as completed with its status.
import { Queue, Worker } from 'bullmq';
import { Pool } from 'undici';
import { createHmac, randomBytes, randomUUID } from 'node:crypto';

const { REDIS, URL: target, COUNT, BODY, CONCURRENCY } = process.env;
const { hostname, port } = new URL(REDIS);
const connection = { host: hostname, port: Number(port), maxRetriesPerRequest: null };
const name = `bench-${randomUUID()}`;
const queue = new Queue(name, { connection });
const jobs = Array.from({ length: 1000 }, () => ({ name: 'webhook', data: { body: BODY } }));
for (let added = 0; added < Number(COUNT); added += jobs.length) await queue.addBulk(jobs);

const { origin, pathname } = new URL(target);
const pool = new Pool(origin, { connections: Number(CONCURRENCY) });
const secret = randomBytes(24);
console.log('ready');
const worker = new Worker(name, async (job) => {
  const id = randomUUID();
  const timestamp = Math.floor(Date.now() / 1000).toString();
  const { body } = job.data;
  const signature = createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64');
  const { statusCode, body: answer } = await pool.request({
    method: 'POST',
    path: pathname,
    headers: {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v1,${signature}`,
    },
    body,
  });
  await answer.dump();
  if (statusCode >= 300) throw new Error(`answered ${statusCode}`);
  return statusCode;
}, { connection, concurrency: Number(CONCURRENCY) });
process.on('SIGTERM', async () => {
  await worker.close();
  await queue.obliterate({ force: true });
  process.exit(0);
});
