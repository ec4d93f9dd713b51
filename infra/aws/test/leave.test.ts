/** Who has leave to do what in AWS: written down here a second time, so that a wider policy is a failed test. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ROLE_NAMES, type RoleName } from '../lib/roles';
import { type Json, type Resource, resources } from './stacks';

const PULL = ['ecr:BatchCheckLayerAvailability', 'ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer'];
const LOG = ['logs:CreateLogStream', 'logs:PutLogEvents'];
const READ_SECRETS = ['secretsmanager:DescribeSecret', 'secretsmanager:GetSecretValue'];
const LOGIN = 'ecr:GetAuthorizationToken';

/** What the program itself may do. */
const PROGRAM: Record<RoleName, string[]> = {
  gateway: ['dynamodb:Query'],
  matcher: [],
  delivery: [],
  storage: ['dynamodb:BatchWriteItem', 'dynamodb:Query'],
  replayer: ['dynamodb:Query'],
  setup: ['dynamodb:DescribeTable', 'dynamodb:DescribeTimeToLive'],
  operator: [],
};

/** Which secrets ECS may read for it. */
const SECRETS: Record<RoleName, string[]> = {
  gateway: ['CacheUrl', 'ControlUrl', 'SecretsPepper', 'SecretsSecretKeys'],
  matcher: ['ControlUrl', 'SecretsSecretKeys'],
  delivery: ['ControlUrl', 'SecretsSecretKeys'],
  storage: ['ControlUrl'],
  replayer: ['ControlUrl', 'SecretsSecretKeys'],
  setup: ['ControlUrl'],
  operator: ['ControlUrl', 'SecretsPepper', 'SecretsSecretKeys'],
};

const list = (value: Json): Json[] => (Array.isArray(value) ? value : [value]);
const statements = (policy: Resource): Json[] => policy.Properties.PolicyDocument.Statement;
const of = (role: RoleName, kind: string): Json[] =>
  resources('AWS::IAM::Policy')
    .filter(({ id }) => new RegExp(`^(Services|Jobs)${role}Definition${kind}`).test(id))
    .flatMap(statements);
const actions = (all: Json[]): string[] => all.flatMap((one) => list(one.Action)).sort();

for (const role of ROLE_NAMES) {
  test(`${role} may do what it must, and nothing else`, () => {
    const program = of(role, 'TaskRole');
    assert.deepEqual(actions(program), PROGRAM[role]);
    for (const one of program) assert.match(JSON.stringify(one.Resource), /InboxTable\w+Arn|"InboxTable\w+","Arn"/);

    const around = of(role, 'ExecutionRole');
    const secrets = around.filter((one) => list(one.Action).includes('secretsmanager:GetSecretValue'));
    const expected = [...PULL, LOGIN, ...LOG, ...secrets.flatMap(() => READ_SECRETS)].sort();
    assert.deepEqual(actions(around), expected);
    const read = secrets.map((one) => /(CacheUrl|ControlUrl|SecretsPepper|SecretsSecretKeys)/.exec(JSON.stringify(one))?.[0]);
    assert.deepEqual(read.sort(), SECRETS[role]);
  });
}

test('no policy has a wildcard, but for the login at ECR, which AWS has for all repositories or none', () => {
  const all = resources('AWS::IAM::Policy').flatMap(statements);
  assert.ok(all.length > 20);
  for (const one of all) {
    assert.equal(one.Effect, 'Allow');
    assert.deepEqual(list(one.Action).filter((action) => action.includes('*')), []);
    if (one.Action !== LOGIN) assert.doesNotMatch(JSON.stringify(one.Resource), /\*/);
  }
});

test('who else has a policy is known: the function that asks MSK for its addresses', () => {
  const others = resources('AWS::IAM::Policy').filter(({ id }) => !/Definition(Task|Execution)Role/.test(id));
  assert.deepEqual(others.flatMap(statements).map((one) => one.Action), ['kafka:GetBootstrapBrokers']);
  const managed = resources('AWS::IAM::Role').flatMap(({ Properties }) => Properties.ManagedPolicyArns ?? []);
  assert.equal(managed.length, 1);
  assert.match(JSON.stringify(managed[0]), /AWSLambdaBasicExecutionRole/);
});

test('only ECS may take the roles of tasks', () => {
  for (const { id, Properties } of resources('AWS::IAM::Role').filter((role) => /Definition/.test(role.id))) {
    const [trust] = Properties.AssumeRolePolicyDocument.Statement;
    assert.deepEqual(trust.Principal, { Service: 'ecs-tasks.amazonaws.com' }, id);
  }
});
