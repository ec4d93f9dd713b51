/** Settings: what is missing or makes no sense is named. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { App } from 'aws-cdk-lib';

import { readSettings } from '../lib/settings';

const context = { certificateArn: 'arn:aws:acm:…', imageTag: '1.0.0' };
const read = (changes: Record<string, unknown>) => readSettings(new App({ context: { ...context, ...changes } }).node);

test('defaults will do but for what nobody can guess', () => {
  assert.equal(read({}).sizes.gateway.tasks, 3);
  assert.equal(read({ 'delivery.tasks': '7' }).sizes.delivery.tasks, 7);
  assert.deepEqual(read({ zones: 'eu-central-1a,eu-central-1b,eu-central-1c' }).zones.length, 3);
});

for (const [key, value] of [
  ['certificateArn', ''],
  ['imageTag', ''],
  ['natGateways', '0'],
  ['gateway.tasks', 'many'],
  ['zones', 'eu-central-1a'],
] as const) {
  test(`${key}=${value} is refused`, () => {
    assert.throws(() => read({ [key]: value }), new RegExp(`setting ${key}:`));
  });
}
