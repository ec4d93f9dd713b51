/**
 * What is watched: each line a metric of AWS's, the bound that it shouldn't pass, and what to think when it does. Alarms
 * and dashboard are both made from these (alarms.ts), so they can't disagree.
 *
 * Triggerline's own metrics (docs/metrics.md) aren't here: nobody collects /metrics on Fargate yet. What it logs as an
 * ERROR is, because that means that a person must look.
 */
import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { HttpCodeElb, HttpCodeTarget } from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';

import type { Entrance } from './entrance';
import { BROKERS } from './kafka';
import { PREFIX, type Role, ROLES, SERVICE_NAMES } from './roles';
import type { Services } from './services';
import type { Settings } from './settings';
import type { Stores } from './task';

export interface Watch {
  readonly section: 'Entrance' | 'Services' | 'Lag' | 'Kafka' | 'Inbox' | 'Control store' | 'Cache';
  /** Unique; the alarm's name. */
  readonly name: string;
  readonly metric: cloudwatch.IMetric;
  /** Beyond which it is wrong: above, or below where `below` says so. */
  readonly bound: number;
  readonly below?: true;
  /** For so many minutes in a row. */
  readonly minutes: number;
  /** For the person who is woken. */
  readonly says: string;
  /** No data is wrong too. */
  readonly silence?: true;
}

const MINUTE = { period: Duration.minutes(1) };
const GIB = 1024 ** 3;

type Watched = Omit<Watch, 'section'>;
const section = (name: Watch['section'], watched: readonly Watched[]): Watch[] =>
  watched.map((watch) => ({ section: name, ...watch }));

export function watches(
  scope: Construct,
  settings: Settings,
  stores: Stores,
  services: Services,
  entrance: Entrance,
): Watch[] {
  return [
    ...section('Entrance', door(entrance)),
    ...section('Services', tasks(scope, settings, services)),
    ...section('Lag', lag(stores)),
    ...section('Kafka', kafka(stores)),
    ...section('Inbox', inbox(stores)),
    ...section('Control store', control(settings, stores)),
    ...section('Cache', cache(stores)),
  ];
}

function door({ loadBalancer, http }: Entrance): Watched[] {
  const sum = { ...MINUTE, statistic: 'Sum' };
  return [
    {
      name: 'balancer-5xx',
      metric: loadBalancer.metrics.httpCodeElb(HttpCodeElb.ELB_5XX_COUNT, sum),
      bound: 10,
      minutes: 3,
      says: 'The load balancer found no gateway to ask, or none that answered.',
    },
    {
      name: 'gateway-5xx',
      metric: loadBalancer.metrics.httpCodeTarget(HttpCodeTarget.TARGET_5XX_COUNT, sum),
      bound: 10,
      minutes: 3,
      says: 'Gateways answer 503 or 500: producers must send again. Mostly Kafka; then the control store or the cache.',
    },
    {
      name: 'gateway-slow',
      // Requests that wait for deliveries (lease) take up to 20 s on purpose; where most do, raise the bound.
      metric: http.metrics.targetResponseTime({ ...MINUTE, statistic: 'p95' }),
      bound: 1,
      minutes: 5,
      says: 'p95 of the answers over HTTP is above a second: look at the processors of gateways and brokers.',
    },
  ];
}

function tasks(scope: Construct, settings: Settings, services: Services): Watched[] {
  return SERVICE_NAMES.flatMap((name): Watched[] => {
    const { service, task } = services.all[name];
    const count = (metricName: string): cloudwatch.Metric =>
      new cloudwatch.Metric({
        namespace: 'ECS/ContainerInsights',
        metricName,
        dimensionsMap: { ClusterName: settings.name, ServiceName: service.serviceName },
        statistic: 'Average',
        ...MINUTE,
      });
    const missing = new cloudwatch.MathExpression({
      expression: 'desired - running',
      usingMetrics: { desired: count('DesiredTaskCount'), running: count('RunningTaskCount') },
      label: `${name}: tasks that don't run`,
      ...MINUTE,
    });
    const errors = new logs.MetricFilter(scope, `${name}-errors`, {
      logGroup: task.logs,
      filterPattern: logs.FilterPattern.stringValue('$.level', '=', 'ERROR'),
      metricNamespace: settings.name,
      metricName: `${name}-errors`,
      defaultValue: 0,
    }).metric({ ...MINUTE, statistic: 'Sum', label: `${name}: errors in its log` });
    return [
      {
        name: `${name}-tasks`,
        metric: missing,
        bound: 0,
        minutes: 10,
        silence: true,
        says: `Fewer tasks of ${name} run than should: they end, or there is no room. The service's events say which.`,
      },
      {
        name: `${name}-errors`,
        metric: errors,
        bound: 0,
        minutes: 1,
        says: `${name} has logged an ERROR, in /${settings.name}/${name}: a person must look.`,
      },
    ];
  });
}

const broker = (stores: Stores, metricName: string, statistic: string, rest: cloudwatch.DimensionsMap = {}) =>
  new cloudwatch.Metric({
    namespace: 'AWS/Kafka',
    metricName,
    statistic,
    dimensionsMap: { 'Cluster Name': stores.kafka.clusterName, ...rest },
    ...MINUTE,
  });

function lag(stores: Stores): Watched[] {
  return SERVICE_NAMES.flatMap((name) =>
    ((ROLES[name] as Role).consumes ?? []).flatMap((topic): Watched[] => {
      const reader = { 'Consumer Group': `${PREFIX}${name}`, Topic: `${PREFIX}${topic}` };
      const of = `${name}'s group on ${PREFIX}${topic}`;
      return [
        {
          name: `${name}-${topic}-seconds-behind`,
          metric: broker(stores, 'EstimatedMaxTimeLag', 'Maximum', reader),
          bound: 300,
          minutes: 10,
          says: `${of} is more than 5 minutes behind: more tasks, up to the partitions, or see what holds it up.`,
        },
        {
          name: `${name}-${topic}-records-behind`,
          metric: broker(stores, 'SumOffsetLag', 'Maximum', reader),
          bound: 100_000,
          minutes: 10,
          says: `${of} has 100,000 records before it.`,
        },
      ];
    }),
  );
}

function kafka(stores: Stores): Watched[] {
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

function inbox({ inbox: { table } }: Stores): Watched[] {
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

function control(settings: Settings, { control: { database } }: Stores): Watched[] {
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

function cache({ cache: { nodes } }: Stores): Watched[] {
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
