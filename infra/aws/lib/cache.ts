/**
 * The cache of the gateways: Redis in ElastiCache, a primary and a replica in another zone, over TLS and with a
 * password. It holds idempotency keys, so nothing is thrown out while it is full. A failover may forget the last
 * moment's keys, because replicas follow behind.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elasticache from 'aws-cdk-lib/aws-elasticache';
import type * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';

import { type Network, STORE_PORTS } from './network';
import { compose, generate, refer } from './secrets';
import type { Settings } from './settings';

const NODES = 2;

export class Cache extends Construct {
  /** What metrics call them. */
  readonly nodes: readonly string[];
  /** cache.url */
  readonly url: secretsmanager.Secret;

  constructor(scope: Construct, id: string, settings: Settings, network: Network) {
    super(scope, id);
    const token = generate(this, 'Token', 'the password of Redis', 64);
    const subnets = new elasticache.CfnSubnetGroup(this, 'Subnets', {
      description: 'Triggerline: cache',
      subnetIds: network.vpc.selectSubnets({ subnetType: ec2.SubnetType.PRIVATE_ISOLATED }).subnetIds,
    });
    const parameters = new elasticache.CfnParameterGroup(this, 'Parameters', {
      cacheParameterGroupFamily: 'redis7',
      description: 'Triggerline: cache',
      properties: { 'maxmemory-policy': 'noeviction' },
    });
    const group = new elasticache.CfnReplicationGroup(this, 'Redis', {
      replicationGroupDescription: 'Triggerline: rate limits and idempotency keys',
      engine: 'redis',
      engineVersion: '7.1',
      cacheNodeType: settings.cacheClass,
      numCacheClusters: NODES,
      automaticFailoverEnabled: true,
      multiAzEnabled: true,
      cacheSubnetGroupName: subnets.ref,
      cacheParameterGroupName: parameters.ref,
      securityGroupIds: [network.stores.cache.securityGroupId],
      port: STORE_PORTS.cache,
      atRestEncryptionEnabled: true,
      transitEncryptionEnabled: true,
      authToken: refer(token),
      snapshotRetentionLimit: 7,
    });
    group.applyRemovalPolicy(RemovalPolicy.SNAPSHOT);
    this.nodes = Array.from({ length: NODES }, (_, n) => `${group.ref}-00${n + 1}`);
    const url = `rediss://:${refer(token)}@${group.attrPrimaryEndPointAddress}:${group.attrPrimaryEndPointPort}`;
    this.url = compose(this, 'Url', 'how to reach Redis (cache.url)', url);
  }
}
