/** What tasks run and are told, held against the program: its commands, its settings, its topics. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { PREFIX, ROLES, SERVICE_NAMES, type Role } from '../lib/roles';
import { type Json, only, resources, source } from './stacks';

const definitions = resources('AWS::ECS::TaskDefinition').map(({ Properties }) => Properties);
const containers: Json[] = definitions.flatMap((definition) => definition.ContainerDefinitions);
const plain: Json[] = containers.flatMap((container) => container.Environment ?? []);
const secret: Json[] = containers.flatMap((container) => container.Secrets ?? []);

/** Every setting there is, as the environment names it, read from the commented default files. */
function settings(): Set<string> {
  const services = readdirSync(join(__dirname, '../../../../services'));
  const names = services.filter((name) => name !== 'analytics').flatMap((service) => {
    let section = '';
    return source(`services/${service}/src/config.default.toml`).split('\n').flatMap((line) => {
      section = /^\[(.+)\]$/.exec(line)?.[1] ?? section;
      const key = /^(\w+) = /.exec(line)?.[1];
      return key === undefined ? [] : [`TRIGGERLINE_${[...section.split('.'), key].join('__').toUpperCase()}`];
    });
  });
  return new Set(names);
}

test('every variable is a setting that the program knows', () => {
  const known = settings();
  assert.ok(known.has('TRIGGERLINE_GATEWAY__LIMITS__CONNECTIONS') && known.size > 60);
  // Those of librdkafka are as many as it has.
  const own = [...plain, ...secret].filter(({ Name }) => !Name.startsWith('TRIGGERLINE_KAFKA__PROPERTIES__'));
  for (const { Name } of own) assert.ok(known.has(Name), Name);
});

test('every command is one that the program has', () => {
  const cli = source('services/triggerline/src/cli.rs');
  const variants = (name: string): string => new RegExp(`enum ${name} \\{(.*?)^\\}`, 'ms').exec(cli)?.[1] ?? '';
  for (const { Command } of containers) {
    const words: string[] = Command;
    const [command = '', sub] = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1));
    assert.match(variants('Command'), new RegExp(`^    ${command}\\(`, 'm'), words.join(' '));
    if (sub !== undefined) assert.match(variants(command), new RegExp(`^    ${sub}\\b`, 'm'), words.join(' '));
  }
  assert.deepEqual(containers.map(({ Name }) => Name).sort(), [
    'delivery', 'gateway', 'matcher', 'migrate', 'operator', 'replayer', 'storage', 'topics-apply',
  ]);
});

test('a secret comes as a secret, and nothing secret comes in the clear', () => {
  const secrets = ['TRIGGERLINE_CONTROL__URL', 'TRIGGERLINE_CACHE__URL', 'TRIGGERLINE_CONTROL__PEPPER', 'TRIGGERLINE_CONTROL__SECRET_KEYS'];
  assert.deepEqual([...new Set(secret.map(({ Name }) => Name))].sort(), [...secrets].sort());
  for (const { Name, Value } of plain) {
    assert.ok(!secrets.includes(Name), Name);
    assert.doesNotMatch(JSON.stringify(Value), /secret|password|postgres:|rediss?:/i, Name);
  }
});

test('what is composed of secrets refers to them, and holds none', () => {
  const composed = resources('AWS::SecretsManager::Secret').filter(({ Properties }) => Properties.SecretString);
  assert.equal(composed.length, 3);
  for (const { id, Properties } of composed) {
    assert.match(JSON.stringify(Properties.SecretString), /\{\{resolve:secretsmanager:/, id);
  }
});

test('a sealing key is 32 bytes in strict base64, whatever is drawn', () => {
  const { Properties } = resources('AWS::SecretsManager::Secret').find(({ id }) => id.startsWith('SecretsSecretKeys')) ?? { Properties: {} };
  const [before, , after] = Properties.SecretString['Fn::Join'][1];
  const end = after.replace(':SecretString:::}}', '');
  for (const letter of ['a', 'Z', '0', '9']) {
    const text = before.replace('{{resolve:secretsmanager:', '') + letter.repeat(42) + end;
    const key = text.replace(/^k1:/, '');
    assert.equal(Buffer.from(key, 'base64').length, 32);
    assert.equal(Buffer.from(key, 'base64').toString('base64'), key);
  }
});

test('services say how they are, and have time to drain', () => {
  for (const { Name, HealthCheck, StopTimeout } of containers.filter(({ Name }) => SERVICE_NAMES.includes(Name))) {
    assert.equal(HealthCheck.Command.at(-1), 'http://127.0.0.1:8082/livez', Name);
    assert.ok(StopTimeout >= 60 && StopTimeout <= 120, Name); // more Fargate doesn't take
  }
  const admin = source('crates/service/src/admin.rs');
  for (const path of ['/livez', '/readyz']) assert.ok(admin.includes(`.route("${path}"`), path);
});

test('topics are applied only after the tables are there', () => {
  const [migrate, apply] = definitions.find(({ Family }) => Family === 'triggerline-setup').ContainerDefinitions;
  assert.equal(migrate.Essential, false);
  assert.deepEqual(apply.DependsOn, [{ Condition: 'SUCCESS', ContainerName: 'migrate' }]);
  const told = Object.fromEntries(apply.Environment.map(({ Name, Value }: Json) => [Name, Value]));
  assert.equal(told.TRIGGERLINE_TOPICS__REPLICATION, '3');
});

test('a deployment that fails is taken back', () => {
  for (const { Properties } of resources('AWS::ECS::Service')) {
    assert.deepEqual(Properties.DeploymentConfiguration.DeploymentCircuitBreaker, { Enable: true, Rollback: true });
  }
});

test('the groups and topics that are watched are those that services consume', () => {
  assert.ok(source('services/triggerline/src/config.default.toml').includes(`prefix = "${PREFIX}"`));
  for (const name of SERVICE_NAMES) {
    const code = source(`services/${name === 'replayer' ? 'replay' : name}/src/lib.rs`);
    const consumes = (ROLES[name] as Role).consumes;
    assert.equal(code.includes(`service: "${name}"`), consumes !== undefined, name);
    for (const topic of consumes ?? []) {
      assert.ok(code.includes(`Topic::${topic.charAt(0).toUpperCase()}${topic.slice(1)}`), `${name}: ${topic}`);
    }
  }
});

test('a service may reach the stores that it opens, and no other', () => {
  const code = source('services/triggerline/src/services.rs');
  const run = /fn run\(.*?^\}/ms.exec(code)?.[0] ?? '';
  for (const name of SERVICE_NAMES) {
    const role: Role = ROLES[name];
    const variant = `${name.charAt(0).toUpperCase()}${name.slice(1)}`;
    const arm = new RegExp(`^        Service::${variant} => \\{$(.*?)^        \\}$`, 'ms').exec(run)?.[1] ?? '';
    const opens = (what: RegExp): boolean => what.test(arm);
    const why = `${name}: lib/roles.ts differs from services.rs`;
    assert.ok(opens(/check_topics\(kafka/) && role.stores.includes('kafka'), why);
    assert.equal(role.stores.includes('control'), opens(/\bcontrol\(config\)/), `${why} (control)`);
    assert.equal(role.stores.includes('cache'), opens(/\bcache\(config\)/), `${why} (cache)`);
    assert.equal(role.inbox.length > 0, opens(/events\(config\)/), `${why} (inbox)`);
    assert.equal(role.pepper ?? false, opens(/config\.pepper\(\)/), `${why} (pepper)`);
  }
});

test('the cluster counts its tasks, which the alarms need', () => {
  const [setting] = only('AWS::ECS::Cluster').Properties.ClusterSettings;
  assert.deepEqual(setting, { Name: 'containerInsights', Value: 'enabled' });
});
