/** The stores: encrypted, with copies in other zones, with backups, and not deleted by mistake. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { only, resources } from './stacks';

interface Pair {
  Name: string;
  Value: unknown;
}

test('PostgreSQL', () => {
  const { Properties: made, DeletionPolicy } = only('AWS::RDS::DBInstance');
  assert.equal(made.StorageEncrypted, true);
  assert.equal(made.MultiAZ, true);
  assert.ok(made.BackupRetentionPeriod >= 7);
  assert.equal(made.DeletionProtection, true);
  assert.equal(DeletionPolicy, 'Retain');
});

test('PostgreSQL lets in nobody without TLS, and is asked for its certificate', () => {
  const { Parameters } = only('AWS::RDS::DBParameterGroup').Properties;
  assert.equal(Parameters['rds.force_ssl'], '1');
  const urls = resources('AWS::SecretsManager::Secret').map(({ Properties }) => JSON.stringify(Properties));
  const [url] = urls.filter((text) => text.includes('postgres://'));
  assert.match(url ?? '', /[?]sslmode=verify-full&sslrootcert=\/etc\/triggerline\/rds-ca.pem/);
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

test('whoever uses Kafka speaks to it as it does, by TLS', () => {
  const environments = resources('AWS::ECS::TaskDefinition')
    .flatMap(({ Properties }) => Properties.ContainerDefinitions)
    .map(({ Environment }) => Object.fromEntries(Environment.map(({ Name, Value }: Pair) => [Name, Value])))
    .filter((environment) => 'TRIGGERLINE_KAFKA__BROKERS' in environment);
  assert.ok(environments.length > 0);
  for (const environment of environments) {
    assert.equal(environment.TRIGGERLINE_KAFKA__PROPERTIES__SECURITY_PROTOCOL, 'SSL');
    assert.match(environment.TRIGGERLINE_KAFKA__PROPERTIES__SSL_CA_LOCATION, /ca-certificates/);
  }
});

test('no secret is lost with the stack', () => {
  const secrets = resources('AWS::SecretsManager::Secret');
  assert.equal(secrets.length, 7);
  for (const { id, DeletionPolicy } of secrets) assert.equal(DeletionPolicy, 'Retain', id);
});
