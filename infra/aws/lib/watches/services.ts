/** What is watched of the services: what clients see, whether tasks run and complain, and how far they are behind. */
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { HttpCodeElb, HttpCodeTarget } from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';

import type { Entrance } from '../entrance';
import { PREFIX, type Role, ROLES, SERVICE_NAMES } from '../roles';
import type { Services } from '../services';
import type { Settings } from '../settings';
import type { Stores } from '../task';
import { broker, MINUTE, type Watched } from './watch';

export function door({ loadBalancer, http }: Entrance): Watched[] {
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

export function tasks(scope: Construct, settings: Settings, services: Services): Watched[] {
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

export function lag(stores: Stores): Watched[] {
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
