/** The inbox's table is the one of inbox-table.json, to which crates/store/tests/dynamo.rs holds `triggerline migrate`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import definition from '../inbox-table.json';
import { only } from './stacks';

test('the table is the one that the file defines, no more and no less', () => {
  const made = only('AWS::DynamoDB::Table').Properties;
  const found = {
    AttributeDefinitions: made.AttributeDefinitions,
    KeySchema: made.KeySchema,
    GlobalSecondaryIndexes: made.GlobalSecondaryIndexes ?? [],
    LocalSecondaryIndexes: made.LocalSecondaryIndexes ?? [],
    BillingMode: made.BillingMode,
    TimeToLiveSpecification: made.TimeToLiveSpecification,
  };
  assert.deepEqual(found, definition);
});

test('it is encrypted, can be taken back to any second, and is not deleted by mistake', () => {
  const { Properties: made, DeletionPolicy } = only('AWS::DynamoDB::Table');
  assert.equal(made.SSESpecification.SSEEnabled, true);
  assert.equal(made.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled, true);
  assert.equal(made.DeletionProtectionEnabled, true);
  assert.equal(DeletionPolicy, 'Retain');
});
