/**
 * The control store: PostgreSQL in RDS, a primary and a standby in another zone, encrypted, with backups. It takes
 * nobody without TLS, and its certificate is checked against Amazon's roots.
 */
import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as rds from 'aws-cdk-lib/aws-rds';
import type * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';

import { type Network, STORE_PORTS } from './network';
import { compose, generateLogin, refer } from './secrets';
import type { Settings } from './settings';
import { ROOTS } from './task';

const USER = 'triggerline';
const DATABASE = 'triggerline';

export class Control extends Construct {
  readonly database: rds.DatabaseInstance;
  /** control.url */
  readonly url: secretsmanager.Secret;

  constructor(scope: Construct, id: string, settings: Settings, network: Network) {
    super(scope, id);
    const login = generateLogin(this, 'Login', 'the login of PostgreSQL', USER);
    // What docker-compose.kafka.yml has.
    const engine = rds.DatabaseInstanceEngine.postgres({ version: rds.PostgresEngineVersion.VER_17 });
    this.database = new rds.DatabaseInstance(this, 'Database', {
      engine,
      instanceType: new ec2.InstanceType(settings.databaseClass),
      vpc: network.vpc,
      vpcSubnets: { subnetType: ec2.SubnetType.PRIVATE_ISOLATED },
      securityGroups: [network.stores.control],
      publiclyAccessible: false,
      credentials: rds.Credentials.fromSecret(login),
      databaseName: DATABASE,
      port: STORE_PORTS.control,
      parameterGroup: new rds.ParameterGroup(this, 'Parameters', { engine, parameters: { 'rds.force_ssl': '1' } }),
      multiAz: true,
      storageType: rds.StorageType.GP3,
      allocatedStorage: settings.databaseGiB,
      maxAllocatedStorage: settings.databaseGiB * 4,
      storageEncrypted: true,
      backupRetention: Duration.days(14),
      copyTagsToSnapshot: true,
      autoMinorVersionUpgrade: true,
      cloudwatchLogsExports: ['postgresql'],
      deletionProtection: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });
    const { dbInstanceEndpointAddress: host, dbInstanceEndpointPort: port } = this.database;
    const url = `postgres://${USER}:${refer(login, 'password')}@${host}:${port}/${DATABASE}?sslmode=verify-full&sslrootcert=${ROOTS.rds}`;
    this.url = compose(this, 'Url', 'how to reach PostgreSQL (control.url)', url);
  }
}
