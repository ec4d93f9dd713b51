/** Who can reach whom: nothing is public but the load balancer, and stores see only those who use them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Json, only, resources } from './stacks';

/** A group's name, wherever it is named: `NetworkGatewayGroupA1B2C3D4` is gateway. */
const named = (reference: Json): string =>
  /Network(\w+?)Group[0-9A-F]{8}/.exec(JSON.stringify(reference))?.[1]?.toLowerCase() ?? JSON.stringify(reference);
const ports = ({ FromPort: from, ToPort: to }: Json): string => (from === to ? `${from}` : `${from}-${to}`);

const CONNECTIONS = [
  'anybody > loadbalancer 443',
  'delivery > control 5432',
  'delivery > kafka 9094',
  'gateway > cache 6379',
  'gateway > control 5432',
  'gateway > kafka 9094',
  'kafka > kafka 0-65535',
  'loadbalancer > gateway 8080',
  'loadbalancer > gateway 8081',
  'loadbalancer > gateway 8082',
  'matcher > control 5432',
  'matcher > kafka 9094',
  'operator > control 5432',
  'replayer > control 5432',
  'replayer > kafka 9094',
  'setup > control 5432',
  'setup > kafka 9094',
  'storage > control 5432',
  'storage > kafka 9094',
];

test('every way in is one of these', () => {
  const inline = resources('AWS::EC2::SecurityGroup').flatMap(({ id, Properties }) =>
    (Properties.SecurityGroupIngress ?? []).map((rule: Json) => {
      assert.equal(rule.CidrIp, '0.0.0.0/0');
      return `anybody > ${named(id)} ${ports(rule)}`;
    }),
  );
  const between = resources('AWS::EC2::SecurityGroupIngress').map(({ Properties: rule }) => {
    return `${named(rule.SourceSecurityGroupId)} > ${named(rule.GroupId)} ${ports(rule)}`;
  });
  assert.deepEqual([...inline, ...between].sort(), CONNECTIONS);
});

test('every way out to the internet is one of these', () => {
  const out = resources('AWS::EC2::SecurityGroup').flatMap(({ id, Properties }) =>
    (Properties.SecurityGroupEgress ?? [])
      .filter((rule: Json) => rule.CidrIp !== '255.255.255.255/32') // CDK's way to say "nowhere"
      .map((rule: Json) => `${named(id)} ${ports(rule)}`),
  );
  const https = ['gateway', 'matcher', 'operator', 'replayer', 'setup', 'storage'].map((name) => `${name} 443`);
  assert.deepEqual(out.sort(), ['delivery 0-65535', ...https]);
});

test('stores are in subnets without a way in or out, of three zones', () => {
  const stores = /NetworkVpcstoresSubnet\dSubnet/;
  const places = [
    only('AWS::RDS::DBSubnetGroup').Properties.SubnetIds,
    only('AWS::ElastiCache::SubnetGroup').Properties.SubnetIds,
    only('AWS::MSK::Cluster').Properties.BrokerNodeGroupInfo.ClientSubnets,
  ];
  for (const place of places) {
    assert.equal(place.length, 3);
    for (const subnet of place) assert.match(subnet.Ref, stores);
  }
  const routes = resources('AWS::EC2::Route').map((route) => JSON.stringify(route.Properties.RouteTableId));
  assert.equal(routes.length, 6);
  for (const table of routes) assert.doesNotMatch(table, /stores/);
  for (const endpoint of resources('AWS::EC2::VPCEndpoint')) {
    assert.doesNotMatch(JSON.stringify(endpoint.Properties.RouteTableIds), /stores|public/);
  }
  const zones = resources('AWS::EC2::Subnet').map((subnet) => JSON.stringify(subnet.Properties.AvailabilityZone));
  assert.equal(new Set(zones).size, 3);
});

test('nothing but the load balancer has a public address', () => {
  assert.equal(only('AWS::ElasticLoadBalancingV2::LoadBalancer').Properties.Scheme, 'internet-facing');
  assert.equal(only('AWS::RDS::DBInstance').Properties.PubliclyAccessible, false);
  const kafka = only('AWS::MSK::Cluster').Properties.BrokerNodeGroupInfo;
  assert.equal(kafka.ConnectivityInfo.PublicAccess.Type, 'DISABLED');
  for (const { Properties } of resources('AWS::ECS::Service')) {
    const place = Properties.NetworkConfiguration.AwsvpcConfiguration;
    assert.equal(place.AssignPublicIp, 'DISABLED');
    assert.match(JSON.stringify(place.Subnets), /services/);
    assert.doesNotMatch(JSON.stringify(place.Subnets), /public/);
  }
  for (const { Properties } of resources('AWS::EC2::Subnet')) assert.notEqual(Properties.MapPublicIpOnLaunch, true);
});

test('the load balancer speaks TLS only, and gRPC and HTTP find their ports', () => {
  const listener = only('AWS::ElasticLoadBalancingV2::Listener').Properties;
  assert.equal(listener.Port, 443);
  assert.equal(listener.Protocol, 'HTTPS');
  const [http, grpc] = resources('AWS::ElasticLoadBalancingV2::TargetGroup').map((group) => group.Properties);
  assert.deepEqual([http.Port, http.ProtocolVersion, http.HealthCheckPort, http.HealthCheckPath], [8080, 'HTTP1', '8082', '/readyz']);
  assert.deepEqual([grpc.Port, grpc.ProtocolVersion, grpc.HealthCheckPath], [8081, 'GRPC', '/grpc.health.v1.Health/Check']);
  const rule = only('AWS::ElasticLoadBalancingV2::ListenerRule').Properties;
  assert.deepEqual(rule.Conditions[0].HttpHeaderConfig, { HttpHeaderName: 'content-type', Values: ['application/grpc*'] });
});
