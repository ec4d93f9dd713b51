/**
 * The network: three zones, three layers, and who may talk to whom.
 *
 *   public     the load balancer, and the NAT gateways that the way out leads through
 *   services   tasks; they reach out, nobody reaches in but the load balancer
 *   stores     Kafka, PostgreSQL, Redis; no way in or out of the VPC
 *
 * Everything has a security group of its own. A pair that isn't in `rules` can't connect.
 */
import { Validations } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import { Construct } from 'constructs';

import { ROLES, ROLE_NAMES, type RoleName, type Store } from './roles';
import type { Settings } from './settings';

export const PORTS = { http: 8080, grpc: 8081, admin: 8082 } as const;
/** Of MSK over TLS, PostgreSQL and Redis. */
export const STORE_PORTS: Readonly<Record<Store, number>> = { kafka: 9094, control: 5432, cache: 6379 };
const HTTPS = 443;
const SERVICES: ec2.SubnetSelection = { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS };

export class Network extends Construct {
  readonly vpc: ec2.Vpc;
  readonly loadBalancer: ec2.SecurityGroup;
  readonly roles: Readonly<Record<RoleName, ec2.SecurityGroup>>;
  readonly stores: Readonly<Record<Store, ec2.SecurityGroup>>;

  constructor(scope: Construct, id: string, settings: Settings) {
    super(scope, id);
    this.vpc = new ec2.Vpc(this, 'Vpc', {
      ipAddresses: ec2.IpAddresses.cidr(settings.vpcCidr),
      maxAzs: 3,
      natGateways: settings.natGateways,
      subnetConfiguration: [
        { name: 'public', subnetType: ec2.SubnetType.PUBLIC, cidrMask: 24, mapPublicIpOnLaunch: false },
        { name: 'services', subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS, cidrMask: 20 },
        { name: 'stores', subnetType: ec2.SubnetType.PRIVATE_ISOLATED, cidrMask: 24 },
      ],
      // Both cost nothing, and keep the inbox's traffic and the image's layers off the NAT gateways.
      gatewayEndpoints: {
        DynamoDb: { service: ec2.GatewayVpcEndpointAwsService.DYNAMODB, subnets: [SERVICES] },
        S3: { service: ec2.GatewayVpcEndpointAwsService.S3, subnets: [SERVICES] },
      },
    });
    const reason = 'Zones are named where somebody has chosen them (settings.ts).';
    Validations.of(this.vpc).acknowledge({ id: 'CloudFormation-Validate::W3010', reason });

    this.loadBalancer = this.group('LoadBalancer');
    this.stores = { kafka: this.group('Kafka'), control: this.group('Control'), cache: this.group('Cache') };
    const groups = ROLE_NAMES.map((name) => [name, this.group(name)] as const);
    this.roles = Object.fromEntries(groups) as Record<RoleName, ec2.SecurityGroup>;
    this.rules();
  }

  private rules(): void {
    const anybody = ec2.Peer.anyIpv4();
    this.loadBalancer.addIngressRule(anybody, ec2.Port.tcp(HTTPS), 'clients');
    for (const [what, port] of Object.entries(PORTS)) allow(this.loadBalancer, this.roles.gateway, port, what);
    for (const name of ROLE_NAMES) {
      const [role, group] = [ROLES[name], this.roles[name]];
      for (const store of role.stores) allow(group, this.stores[store], STORE_PORTS[store], `${name} to ${store}`);
      // The image, secrets, logs, DynamoDB; and webhooks may go to any port (delivery.ports says which).
      if (role.webhooks) group.addEgressRule(anybody, ec2.Port.allTcp(), 'webhooks, and APIs of AWS');
      else group.addEgressRule(anybody, ec2.Port.tcp(HTTPS), 'APIs of AWS');
    }
    // Brokers talk to each other.
    this.stores.kafka.addIngressRule(this.stores.kafka, ec2.Port.allTcp(), 'brokers');
    this.stores.kafka.addEgressRule(this.stores.kafka, ec2.Port.allTcp(), 'brokers');
  }

  private group(name: string): ec2.SecurityGroup {
    const id = `${name.charAt(0).toUpperCase()}${name.slice(1)}Group`;
    return new ec2.SecurityGroup(this, id, {
      vpc: this.vpc,
      description: `Triggerline: ${name}`,
      allowAllOutbound: false,
    });
  }
}

function allow(from: ec2.SecurityGroup, to: ec2.SecurityGroup, port: number, what: string): void {
  from.addEgressRule(to, ec2.Port.tcp(port), what);
  to.addIngressRule(from, ec2.Port.tcp(port), what);
}
