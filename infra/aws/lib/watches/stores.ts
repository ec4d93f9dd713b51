/** What is watched of the stores: Kafka, the inbox, the control store, the cache. */
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';

import { BROKERS } from '../kafka';
import type { Settings } from '../settings';
import type { Stores } from '../task';
import { broker, MINUTE, type Watched } from './watch';

const GIB = 1024 ** 3;

export function kafka(stores: Stores): Watched[] {
  const each = Array.from({ length: BROKERS }, (_, at) => `${at + 1}`);
  return [
    {
      name: 'offline-partitions',
      metric: broker(stores, 'OfflinePartitionsCount', 'Maximum'),
      bound: 0,
      minutes: 2,
      says: 'Some partitions have no leader: events of some customers are answered 503.',
    },
    ...each.flatMap((id): Watched[] => [
      {
        name: `broker-${id}-disk`,
        metric: broker(stores, 'KafkaDataLogsDiskUsed', 'Maximum', { 'Broker ID': id }),
        bound: 80,
        minutes: 5,
        says: `Broker ${id}'s disk is 80 % full: it should have grown at 60 % (brokerMaxGiB reached?).`,
      },
      {
        name: `broker-${id}-min-isr`,
        metric: broker(stores, 'UnderMinIsrPartitionCount', 'Maximum', { 'Broker ID': id }),
        bound: 0,
        minutes: 3,
        says: `Partitions led by broker ${id} have fewer than two replicas: nothing is acknowledged for them.`,
      },
    ]),
  ];
}

export function inbox({ inbox: { table } }: Stores): Watched[] {
  const events = (metricName: string): cloudwatch.Metric => table.metric(metricName, { ...MINUTE, statistic: 'Sum' });
  const failed = (operation: string): Watched => ({
    name: `inbox-${operation}-errors`,
    metric: table.metric('SystemErrors', {
      dimensionsMap: { TableName: table.tableName, Operation: operation },
      statistic: 'Sum',
      ...MINUTE,
    }),
    bound: 5,
    minutes: 3,
    says: `DynamoDB answers ${operation} with errors of its own.`,
  });
  const busy = 'Mostly one customer with more than 200 events a second (docs/storage.md, "Limits").';
  return [
    {
      name: 'inbox-writes-throttled',
      metric: events('WriteThrottleEvents'),
      bound: 100,
      minutes: 5,
      says: `DynamoDB doesn't take all writes; nothing is lost, the inbox is late. ${busy}`,
    },
    {
      name: 'inbox-reads-throttled',
      metric: events('ReadThrottleEvents'),
      bound: 100,
      minutes: 5,
      says: `DynamoDB doesn't answer all reads. ${busy}`,
    },
    failed('BatchWriteItem'),
    failed('Query'),
  ];
}

export function control(settings: Settings, { control: { database } }: Stores): Watched[] {
  return [
    {
      name: 'database-cpu',
      metric: database.metricCPUUtilization(MINUTE),
      bound: 80,
      minutes: 10,
      says: 'PostgreSQL is busy: queues of pulled and ordered deliveries write most. A larger databaseClass helps.',
    },
    {
      name: 'database-storage',
      metric: database.metricFreeStorageSpace(MINUTE),
      bound: Math.round(settings.databaseGiB * 0.1 * GIB),
      below: true,
      minutes: 5,
      says: 'Less than a tenth of the disk is free, and it has not grown by itself.',
    },
    {
      name: 'database-connections',
      // A task has a pool of 16 and one that listens.
      metric: database.metricDatabaseConnections({ ...MINUTE, statistic: 'Maximum' }),
      bound: 300,
      minutes: 5,
      says: 'Many connections: a t4g.medium takes some 400. Fewer tasks, or a larger databaseClass.',
    },
  ];
}

export function cache({ cache: { nodes } }: Stores): Watched[] {
  const of = (metricName: string, node: string): cloudwatch.Metric =>
    new cloudwatch.Metric({
      namespace: 'AWS/ElastiCache',
      metricName,
      dimensionsMap: { CacheClusterId: node },
      statistic: 'Maximum',
      ...MINUTE,
    });
  return nodes.flatMap((node, at): Watched[] => [
    {
      name: `cache-${at + 1}-memory`,
      metric: of('DatabaseMemoryUsagePercentage', node),
      bound: 80,
      minutes: 5,
      says: 'Redis is 80 % full. When it is full, requests with an Idempotency-Key are answered 503.',
    },
    {
      name: `cache-${at + 1}-cpu`,
      metric: of('EngineCPUUtilization', node),
      bound: 80,
      minutes: 5,
      says: 'The one thread of Redis is busy: a larger cacheClass.',
    },
  ]);
}
