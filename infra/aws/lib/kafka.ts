/**
 * Kafka in MSK: three brokers in three zones, two of which must have a record before it is acknowledged. Over TLS
 * only; who may connect is a matter of security groups.
 * Disks grow by themselves, because a full one stops everything.
 */
import { RemovalPolicy } from 'aws-cdk-lib';
import * as scaling from 'aws-cdk-lib/aws-applicationautoscaling';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as msk from 'aws-cdk-lib/aws-msk';
import * as custom from 'aws-cdk-lib/custom-resources';
import { Construct } from 'constructs';

import type { Network } from './network';
import type { Settings } from './settings';

/** The release that the tests run against (xtask). */
const VERSION = '4.1.x.kraft';
export const BROKERS = 3;

const PROPERTIES = [
  'auto.create.topics.enable=false',
  `default.replication.factor=${BROKERS}`,
  'min.insync.replicas=2',
  'unclean.leader.election.enable=false',
];

export class Kafka extends Construct {
  readonly clusterName: string;
  /** kafka.brokers */
  readonly brokers: string;

  constructor(scope: Construct, id: string, settings: Settings, network: Network) {
    super(scope, id);
    this.clusterName = settings.name;
    const configuration = new msk.CfnConfiguration(this, 'Configuration', {
      name: settings.name,
      serverProperties: PROPERTIES.join('\n'),
    });
    const cluster = new msk.CfnCluster(this, 'Cluster', {
      clusterName: this.clusterName,
      kafkaVersion: VERSION,
      numberOfBrokerNodes: BROKERS,
      brokerNodeGroupInfo: {
        instanceType: settings.brokerClass,
        clientSubnets: network.vpc.selectSubnets({ subnetType: ec2.SubnetType.PRIVATE_ISOLATED }).subnetIds,
        securityGroups: [network.stores.kafka.securityGroupId],
        storageInfo: { ebsStorageInfo: { volumeSize: settings.brokerGiB } },
        connectivityInfo: { publicAccess: { type: 'DISABLED' } },
      },
      configurationInfo: { arn: configuration.attrArn, revision: configuration.attrLatestRevisionRevision },
      // At rest MSK always encrypts, with AWS's key where none is named.
      encryptionInfo: { encryptionInTransit: { clientBroker: 'TLS', inCluster: true } },
      clientAuthentication: { unauthenticated: { enabled: true } },
      enhancedMonitoring: 'PER_BROKER',
      loggingInfo: { brokerLogs: { cloudWatchLogs: { enabled: true, logGroup: this.logs(settings).logGroupName } } },
    });
    cluster.applyRemovalPolicy(RemovalPolicy.RETAIN);
    this.grow(cluster, settings);
    this.brokers = this.ask(cluster);
  }

  private logs(settings: Settings): logs.LogGroup {
    return new logs.LogGroup(this, 'Logs', { retention: settings.logDays, removalPolicy: RemovalPolicy.DESTROY });
  }

  private grow(cluster: msk.CfnCluster, settings: Settings): void {
    const target = new scaling.CfnScalableTarget(this, 'Disks', {
      serviceNamespace: 'kafka',
      scalableDimension: 'kafka:broker-storage:VolumeSize',
      resourceId: cluster.ref,
      minCapacity: 1,
      maxCapacity: settings.brokerMaxGiB,
    });
    new scaling.CfnScalingPolicy(this, 'DisksGrow', {
      policyName: `${settings.name}-disks`,
      policyType: 'TargetTrackingScaling',
      scalingTargetId: target.ref,
      targetTrackingScalingPolicyConfiguration: {
        predefinedMetricSpecification: { predefinedMetricType: 'KafkaBrokerStorageUtilization' },
        targetValue: 60,
        // A volume can't become smaller.
        disableScaleIn: true,
      },
    });
  }

  /** CloudFormation doesn't tell a cluster's addresses; MSK does. */
  private ask(cluster: msk.CfnCluster): string {
    const call: custom.AwsSdkCall = {
      service: 'Kafka',
      action: 'getBootstrapBrokers',
      parameters: { ClusterArn: cluster.ref },
      physicalResourceId: custom.PhysicalResourceId.of('brokers'),
      outputPaths: ['BootstrapBrokerStringTls'],
    };
    const asked = new custom.AwsCustomResource(this, 'Brokers', {
      onUpdate: call,
      policy: custom.AwsCustomResourcePolicy.fromSdkCalls({ resources: [cluster.ref] }),
      // Its SDK would be fetched from npm at each deployment; what Lambda brings knows this call.
      installLatestAwsSdk: false,
    });
    return asked.getResponseField('BootstrapBrokerStringTls');
  }
}
