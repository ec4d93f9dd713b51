/**
 * The entrance, and the only thing that the internet can reach: a load balancer that ends TLS and hands over HTTP to
 * one port of the gateways and gRPC to another, both under one name on port 443. There is no port 80: an API key sent
 * in the clear would be out before a redirect could help.
 */
import { CfnOutput, Duration } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import type * as ecs from 'aws-cdk-lib/aws-ecs';
import * as elb from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import { Construct } from 'constructs';

import { type Network, PORTS } from './network';
import { fixed } from './services';
import type { Settings } from './settings';

/** A gateway that drains says so for 15 s (gateway.lame_duck): two answers of these are enough to notice. */
const ASKED = {
  interval: Duration.seconds(5),
  timeout: Duration.seconds(3),
  healthyThresholdCount: 2,
  unhealthyThresholdCount: 2,
};

export class Entrance extends Construct {
  readonly loadBalancer: elb.ApplicationLoadBalancer;
  readonly http: elb.ApplicationTargetGroup;
  readonly grpc: elb.ApplicationTargetGroup;

  constructor(scope: Construct, id: string, settings: Settings, network: Network, gateway: ecs.FargateService) {
    super(scope, id);
    this.loadBalancer = new elb.ApplicationLoadBalancer(this, 'LoadBalancer', {
      vpc: network.vpc,
      vpcSubnets: { subnetType: ec2.SubnetType.PUBLIC },
      internetFacing: true,
      securityGroup: fixed(this, 'load-balancer', network.loadBalancer),
      deletionProtection: true,
      dropInvalidHeaderFields: true,
      // Shorter than gateway.idle_timeout (5 min), or a gateway may hang up while a request is on its way.
      idleTimeout: Duration.seconds(60),
    });
    this.http = this.targets('Http', network, gateway, PORTS.http, {
      protocolVersion: elb.ApplicationProtocolVersion.HTTP1,
      healthCheck: { ...ASKED, port: `${PORTS.admin}`, path: '/readyz', healthyHttpCodes: '200' },
    });
    this.grpc = this.targets('Grpc', network, gateway, PORTS.grpc, {
      protocolVersion: elb.ApplicationProtocolVersion.GRPC,
      // NOT_SERVING has code 0 too. A gateway that ends leaves because ECS takes it out first, then says SIGTERM.
      healthCheck: { ...ASKED, path: '/grpc.health.v1.Health/Check', healthyGrpcCodes: '0' },
    });
    const listener = this.loadBalancer.addListener('Https', {
      port: 443,
      protocol: elb.ApplicationProtocol.HTTPS,
      certificates: [elb.ListenerCertificate.fromArn(settings.certificateArn)],
      sslPolicy: elb.SslPolicy.RECOMMENDED_TLS,
      open: false, // the rule is in network.ts
      defaultTargetGroups: [this.http],
    });
    listener.addTargetGroups('Grpc', {
      priority: 10,
      conditions: [elb.ListenerCondition.httpHeader('content-type', ['application/grpc*'])],
      targetGroups: [this.grpc],
    });
    const value = this.loadBalancer.loadBalancerDnsName;
    new CfnOutput(this, 'Address', { value, description: 'Point the name of the certificate here' });
  }

  private targets(
    id: string,
    network: Network,
    gateway: ecs.FargateService,
    port: number,
    props: Pick<elb.ApplicationTargetGroupProps, 'protocolVersion' | 'healthCheck'>,
  ): elb.ApplicationTargetGroup {
    return new elb.ApplicationTargetGroup(this, id, {
      vpc: network.vpc,
      port,
      protocol: elb.ApplicationProtocol.HTTP,
      targetType: elb.TargetType.IP,
      deregistrationDelay: Duration.seconds(30),
      targets: [gateway.loadBalancerTarget({ containerName: 'gateway', containerPort: port })],
      ...props,
    });
  }
}
