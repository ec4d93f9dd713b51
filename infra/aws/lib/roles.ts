/**
 * The cast: who runs, what it is told to do, and what it may use. Everything that gives leave is made
 * from this table: security groups (network.ts), secrets, environment and IAM (task.ts). What a role
 * doesn't name here it can't reach.
 *
 * The source of each line is services/triggerline/src/services.rs, which opens a service's stores: a test compares.
 */

/** Stores that are reached over the network by address; who may is a matter of security groups. */
export type Store = 'kafka' | 'control' | 'cache';

export interface Role {
  /** What is run, one after the other, each as `triggerline …`. Services run one. */
  readonly commands: readonly (readonly string[])[];
  readonly stores: readonly Store[];
  /** What it does to the inbox's table, which is a matter of IAM: docs/storage.md, "Credentials". */
  readonly inbox: readonly string[];
  /** Hashes API keys, and so needs what they are hashed with. */
  readonly pepper?: true;
  /** Reads subscriptions, and so needs what their secrets are sealed with. */
  readonly secretKeys?: true;
  /** Speaks to servers that are not ours. */
  readonly webhooks?: true;
  /** Consumer group and topics, under Kafka's prefix, whose lag is watched. Retry tiers wait on purpose. */
  readonly consumes?: readonly string[];
  /** Settings of its own. */
  readonly environment?: Readonly<Record<string, string>>;
}

export const SERVICES = {
  gateway: {
    commands: [['gateway']],
    stores: ['kafka', 'control', 'cache'],
    inbox: ['dynamodb:Query'],
    pepper: true,
    secretKeys: true,
    // The load balancer asks every 5 s and believes the second answer.
    environment: { TRIGGERLINE_GATEWAY__LAME_DUCK: '15s' },
  },
  // Doesn't send, but reads subscriptions whole.
  matcher: { commands: [['matcher']], stores: ['kafka', 'control'], inbox: [], secretKeys: true, consumes: ['events'] },
  delivery: {
    commands: [['delivery']],
    stores: ['kafka', 'control'],
    inbox: [],
    secretKeys: true,
    webhooks: true,
    consumes: ['deliveries'],
  },
  // Asks the control store how long to keep what, and whom to erase; the table, at its start, whether it is there, and what it erases.
  storage: {
    commands: [['storage']],
    stores: ['kafka', 'control'],
    inbox: ['dynamodb:BatchWriteItem', 'dynamodb:Query'],
    consumes: ['events', 'attempts'],
  },
  replayer: { commands: [['replayer']], stores: ['kafka', 'control'], inbox: ['dynamodb:Query'], secretKeys: true },
} as const satisfies Record<string, Role>;

/** Run once and end. */
export const JOBS = {
  // The table is there already (inbox.ts): it is only looked at.
  setup: {
    commands: [['migrate'], ['topics', 'apply']],
    stores: ['kafka', 'control'],
    inbox: ['dynamodb:DescribeTable', 'dynamodb:DescribeTimeToLive'],
  },
  // For what works on the control store itself: the first customer and key, sealing secrets anew.
  operator: { commands: [['customers', 'list']], stores: ['control'], inbox: [], pepper: true, secretKeys: true },
} as const satisfies Record<string, Role>;

export type ServiceName = keyof typeof SERVICES;
export type JobName = keyof typeof JOBS;
export type RoleName = ServiceName | JobName;

export const ROLES: Readonly<Record<RoleName, Role>> = { ...SERVICES, ...JOBS };
export const SERVICE_NAMES = Object.keys(SERVICES) as ServiceName[];
export const ROLE_NAMES = Object.keys(ROLES) as RoleName[];

/** What `triggerline` puts before the names of topics and groups (kafka.prefix). */
export const PREFIX = 'triggerline.';
