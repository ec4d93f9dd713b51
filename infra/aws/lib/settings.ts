/**
 * What differs between installations. Each setting has a default that suits a small production, except
 * those that nobody can guess. They come from `cdk -c name=value`, or from "context" in cdk.json.
 */
import type { Node } from 'constructs';

import type { ServiceName } from './roles';

export interface Size {
  /** How many tasks. */
  readonly tasks: number;
  /** In units of 1/1024 of a processor; ECS says which go with which memory. */
  readonly cpu: number;
  readonly memoryMiB: number;
}

export interface Settings {
  /** Begins the names of stacks, cluster and secrets, so that an account can hold several. */
  readonly name: string;
  /** Of ACM, in the same region: the load balancer shows it. */
  readonly certificateArn: string;
  /** In ECR, in the same account and region. */
  readonly imageRepository: string;
  readonly imageTag: string;
  /** Who is sent an e-mail when an alarm changes; nobody if absent. */
  readonly alarmEmail?: string;
  /** Three of the region's. Its first three if absent, which not every region has. */
  readonly zones: readonly string[];
  readonly vpcCidr: string;
  /** One a zone keeps webhooks going when a zone is lost; one in all is cheaper. */
  readonly natGateways: number;
  readonly databaseClass: string;
  readonly databaseGiB: number;
  readonly cacheClass: string;
  readonly brokerClass: string;
  /** Of each of the three brokers: at first, and how far it may grow by itself. */
  readonly brokerGiB: number;
  readonly brokerMaxGiB: number;
  /** Of each topic: as many tasks of a service can share its work. */
  readonly partitions: number;
  readonly logDays: number;
  readonly sizes: Readonly<Record<ServiceName, Size>>;
}

const DEFAULTS = {
  name: 'triggerline',
  imageRepository: 'triggerline',
  vpcCidr: '10.0.0.0/16',
  natGateways: 3,
  databaseClass: 't4g.medium',
  databaseGiB: 50,
  cacheClass: 'cache.t4g.small',
  brokerClass: 'kafka.m7g.large',
  brokerGiB: 250,
  brokerMaxGiB: 1000,
  partitions: 12,
  logDays: 30,
};

const SIZES: Record<ServiceName, Size> = {
  gateway: { tasks: 3, cpu: 1024, memoryMiB: 2048 },
  matcher: { tasks: 2, cpu: 1024, memoryMiB: 2048 },
  delivery: { tasks: 3, cpu: 1024, memoryMiB: 2048 },
  storage: { tasks: 2, cpu: 512, memoryMiB: 1024 },
  replayer: { tasks: 1, cpu: 256, memoryMiB: 512 },
};

/** Reads them from a construct tree's context. A value that makes no sense ends with a sentence that names it. */
export function readSettings(node: Node): Settings {
  const text = (key: string, otherwise?: string): string => {
    const value: unknown = node.tryGetContext(key) ?? otherwise;
    if (typeof value !== 'string' || value === '') {
      throw new Error(`setting ${key}: is missing; say it with -c ${key}=…, or in "context" of cdk.json`);
    }
    return value;
  };
  const whole = (key: string, otherwise: number): number => {
    const value = Number(node.tryGetContext(key) ?? otherwise);
    if (!Number.isInteger(value) || value < 1) throw new Error(`setting ${key}: is a whole number from 1 on`);
    return value;
  };
  const size = (service: ServiceName): Size => ({
    tasks: whole(`${service}.tasks`, SIZES[service].tasks),
    cpu: whole(`${service}.cpu`, SIZES[service].cpu),
    memoryMiB: whole(`${service}.memoryMiB`, SIZES[service].memoryMiB),
  });
  const zones = text('zones', 'first,first,first').split(',');
  if (zones.length !== 3) throw new Error('setting zones: names three availability zones, separated by commas');
  return {
    name: text('name', DEFAULTS.name),
    certificateArn: text('certificateArn'),
    imageRepository: text('imageRepository', DEFAULTS.imageRepository),
    imageTag: text('imageTag'),
    alarmEmail: node.tryGetContext('alarmEmail'),
    zones: zones.includes('first') ? [] : zones,
    vpcCidr: text('vpcCidr', DEFAULTS.vpcCidr),
    natGateways: whole('natGateways', DEFAULTS.natGateways),
    databaseClass: text('databaseClass', DEFAULTS.databaseClass),
    databaseGiB: whole('databaseGiB', DEFAULTS.databaseGiB),
    cacheClass: text('cacheClass', DEFAULTS.cacheClass),
    brokerClass: text('brokerClass', DEFAULTS.brokerClass),
    brokerGiB: whole('brokerGiB', DEFAULTS.brokerGiB),
    brokerMaxGiB: whole('brokerMaxGiB', DEFAULTS.brokerMaxGiB),
    partitions: whole('partitions', DEFAULTS.partitions),
    logDays: whole('logDays', DEFAULTS.logDays),
    sizes: {
      gateway: size('gateway'),
      matcher: size('matcher'),
      delivery: size('delivery'),
      storage: size('storage'),
      replayer: size('replayer'),
    },
  };
}
