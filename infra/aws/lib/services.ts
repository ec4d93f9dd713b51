/**
 * The services: a Fargate service for each line of SERVICES in roles.ts, in the middle layer of the network. A new
 * version that doesn't stay up is taken back by ECS (circuit breaker).
 */
import { Duration } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import { Construct } from 'constructs';

import type { Network } from './network';
import { SERVICE_NAMES, type ServiceName } from './roles';
import type { Settings } from './settings';
import { type Stores, Task } from './task';

export interface Running {
  readonly service: ecs.FargateService;
  readonly task: Task;
}

export class Services extends Construct {
  readonly all: Readonly<Record<ServiceName, Running>>;

  constructor(scope: Construct, id: string, settings: Settings, network: Network, cluster: ecs.ICluster, stores: Stores) {
    super(scope, id);
    const run = (name: ServiceName): Running => {
      const size = settings.sizes[name];
      const task = new Task(this, name, {
        role: name,
        size,
        stores,
        settings,
        service: true,
        logDays: settings.logDays,
      });
      const service = new ecs.FargateService(this, `${name}-service`, {
        serviceName: name,
        cluster,
        taskDefinition: task.definition,
        desiredCount: size.tasks,
        vpcSubnets: { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
        securityGroups: [fixed(this, name, network.roles[name])],
        assignPublicIp: false,
        minHealthyPercent: 100,
        maxHealthyPercent: 200,
        circuitBreaker: { rollback: true },
        ...(name === 'gateway' && { healthCheckGracePeriod: Duration.seconds(60) }),
      });
      return { service, task };
    };
    const all = SERVICE_NAMES.map((name) => [name, run(name)] as const);
    this.all = Object.fromEntries(all) as Record<ServiceName, Running>;
  }
}

/** A group to which CDK adds no rules on its own: network.ts has all of them. */
export function fixed(scope: Construct, name: string, group: ec2.ISecurityGroup): ec2.ISecurityGroup {
  return ec2.SecurityGroup.fromSecurityGroupId(scope, `${name}-group`, group.securityGroupId, { mutable: false });
}
