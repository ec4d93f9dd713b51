/**
 * What runs once and ends, started by hand: `setup` before each new version of the services, `operator` for what
 * works on the control store itself. The outputs are the commands that start them.
 */
import { CfnOutput } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import type * as ecs from 'aws-cdk-lib/aws-ecs';
import { Construct } from 'constructs';

import type { Network } from './network';
import { JOBS, type JobName } from './roles';
import type { Settings } from './settings';
import { type Stores, Task } from './task';

const SIZE = { tasks: 1, cpu: 256, memoryMiB: 512 };

export class Jobs extends Construct {
  constructor(scope: Construct, id: string, settings: Settings, network: Network, cluster: ecs.Cluster, stores: Stores) {
    super(scope, id);
    const { subnetIds } = network.vpc.selectSubnets({ subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS });
    for (const name of Object.keys(JOBS) as JobName[]) {
      // The operator prints API keys, which are shown once: its logs are gone after a day.
      const logDays = name === 'operator' ? 1 : settings.logDays;
      const task = new Task(this, name, { role: name, size: SIZE, stores, settings, service: false, logDays });
      const place = `subnets=[${subnetIds.join(',')}],securityGroups=[${network.roles[name].securityGroupId}]`;
      const words = [
        `aws ecs run-task --cluster ${cluster.clusterName} --launch-type FARGATE`,
        `--task-definition ${task.definition.taskDefinitionArn}`,
        `--network-configuration "awsvpcConfiguration={${place}}"`,
      ];
      new CfnOutput(this, `Run${name}`, { value: words.join(' '), description: `Starts the job ${name}` });
    }
  }
}
