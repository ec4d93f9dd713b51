/** The stores: encrypted, with copies in other zones, with backups, and not deleted by mistake. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { only, resources, source } from './stacks';

test('PostgreSQL', () => {
  const { Properties: made, DeletionPolicy } = only('AWS::RDS::DBInstance');
  assert.equal(made.StorageEncrypted, true);
  assert.equal(made.MultiAZ, true);
  assert.ok(made.BackupRetentionPeriod >= 7);
  assert.equal(made.DeletionProtection, true);
  assert.equal(DeletionPolicy, 'Retain');
});

test('PostgreSQL lets in who speaks no TLS, for as long as Triggerline does not', () => {
  const { Parameters } = only('AWS::RDS::DBParameterGroup').Properties;
  const speaksTls = !source('crates/store/src/postgres/exchange.rs').includes('NoTls');
  assert.equal(Parameters['rds.force_ssl'], speaksTls ? '1' : '0', 'time to ask for TLS: lib/control.ts');
});

test('Redis', () => {
  const { Properties: made, DeletionPolicy } = only('AWS::ElastiCache::ReplicationGroup');
  assert.equal(made.AtRestEncryptionEnabled, true);
  assert.equal(made.TransitEncryptionEnabled, true);
  assert.match(JSON.stringify(made.AuthToken), /resolve:secretsmanager/);
  assert.equal(made.AutomaticFailoverEnabled && made.MultiAZEnabled, true);
  assert.ok(made.SnapshotRetentionLimit >= 1);
  assert.equal(DeletionPolicy, 'Snapshot');
  const { Properties } = only('AWS::ElastiCache::ParameterGroup').Properties;
  assert.equal(Properties['maxmemory-policy'], 'noeviction');
});

test('Kafka', () => {
  const { Properties: made, DeletionPolicy } = only('AWS::MSK::Cluster');
  assert.equal(made.NumberOfBrokerNodes, 3);
  assert.deepEqual(made.EncryptionInfo.EncryptionInTransit, { ClientBroker: 'TLS', InCluster: true });
  assert.equal(DeletionPolicy, 'Retain');
  const properties = only('AWS::MSK::Configuration').Properties.ServerProperties.split('\n');
  for (const line of ['min.insync.replicas=2', 'auto.create.topics.enable=false', 'unclean.leader.election.enable=false']) {
    assert.ok(properties.includes(line), line);
  }
});

test('the image tells the client to speak to Kafka as Kafka does', () => {
  const settings = source('infra/aws/image/triggerline.toml');
  assert.match(settings, /^\[kafka\.properties\]$/m);
  assert.match(settings, /^"security\.protocol" = "SSL"$/m);
});

test('no secret is lost with the stack', () => {
  const secrets = resources('AWS::SecretsManager::Secret');
  assert.equal(secrets.length, 7);
  for (const { id, DeletionPolicy } of secrets) assert.equal(DeletionPolicy, 'Retain', id);
});
