/**
 * Two stacks, because what is set up has to be there before a service starts, and be set up anew before a new version
 * does: network, stores and jobs in one, services and what watches them in the other.
 */
import { type App, Fn, Stack } from 'aws-cdk-lib';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import type { Construct } from 'constructs';

import { Alarms } from './alarms';
import { Cache } from './cache';
import { Control } from './control';
import { Entrance } from './entrance';
import { Inbox } from './inbox';
import { Jobs } from './jobs';
import { Kafka } from './kafka';
import { Network } from './network';
import { Secrets } from './secrets';
import { Services } from './services';
import type { Settings } from './settings';
import type { Stores } from './task';
import { watches } from './watches';

export class BaseStack extends Stack {
  readonly network: Network;
  readonly stores: Stores;
  readonly cluster: ecs.Cluster;

  constructor(
    scope: Construct,
    id: string,
    private readonly settings: Settings,
  ) {
    super(scope, id, { terminationProtection: true, description: 'Triggerline: network, stores, setting up' });
    this.network = new Network(this, 'Network', settings);
    this.stores = {
      secrets: new Secrets(this, 'Secrets'),
      inbox: new Inbox(this, 'Inbox'),
      control: new Control(this, 'Control', settings, this.network),
      cache: new Cache(this, 'Cache', settings, this.network),
      kafka: new Kafka(this, 'Kafka', settings, this.network),
    };
    this.cluster = new ecs.Cluster(this, 'Cluster', {
      clusterName: settings.name,
      vpc: this.network.vpc,
      // How many tasks run is told by nobody else.
      containerInsightsV2: ecs.ContainerInsights.ENABLED,
    });
    new Jobs(this, 'Jobs', settings, this.network, this.cluster, this.stores);
  }

  /** Without an account to ask, CDK takes two zones; brokers need three. */
  override get availabilityZones(): string[] {
    const { zones } = this.settings;
    return zones.length > 0 ? [...zones] : [0, 1, 2].map((at) => Fn.select(at, Fn.getAzs()));
  }
}

export class ServicesStack extends Stack {
  constructor(scope: Construct, id: string, settings: Settings, base: BaseStack) {
    super(scope, id, { description: 'Triggerline: services, load balancer, alarms' });
    const services = new Services(this, 'Services', settings, base.network, base.cluster, base.stores);
    const entrance = new Entrance(this, 'Entrance', settings, base.network, services.all.gateway.service);
    new Alarms(this, 'Alarms', settings, watches(this, settings, base.stores, services, entrance));
  }
}

export function stacks(app: App, settings: Settings): { base: BaseStack; services: ServicesStack } {
  const base = new BaseStack(app, `${settings.name}-base`, settings);
  const services = new ServicesStack(app, `${settings.name}-services`, settings, base);
  return { base, services };
}
