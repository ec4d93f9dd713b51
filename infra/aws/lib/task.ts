/**
 * From a line of roles.ts to a task definition: commands, environment, secrets, health, logs, and leave (IAM) to do
 * what the line names and nothing else.
 *
 * The image holds `triggerline` as its entry point, curl, and the files of {@link ROOTS}.
 */
import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as ecr from 'aws-cdk-lib/aws-ecr';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import type { Cache } from './cache';
import type { Control } from './control';
import type { Inbox } from './inbox';
import { BROKERS, type Kafka } from './kafka';
import { PORTS } from './network';
import { type Role, ROLES, type RoleName } from './roles';
import type { Secrets } from './secrets';
import type { Settings, Size } from './settings';

/** Whose certificates servers of AWS have, in the image: Amazon's own for RDS, those of the web for the rest. */
export const ROOTS = { rds: '/etc/triggerline/rds-ca.pem', web: '/etc/ssl/certs/ca-certificates.crt' };

/** What tasks use. */
export interface Stores {
  readonly kafka: Kafka;
  readonly control: Control;
  readonly cache: Cache;
  readonly inbox: Inbox;
  readonly secrets: Secrets;
}

export interface TaskProps {
  readonly role: RoleName;
  readonly size: Size;
  readonly stores: Stores;
  readonly settings: Settings;
  /** Ends only when it is told to, and says how it is meanwhile. */
  readonly service: boolean;
  readonly logDays: number;
}

export class Task extends Construct {
  readonly definition: ecs.FargateTaskDefinition;
  readonly logs: logs.LogGroup;

  constructor(scope: Construct, id: string, props: TaskProps) {
    super(scope, id);
    const { role: name, settings, stores } = props;
    const role: Role = ROLES[name];
    this.logs = new logs.LogGroup(this, 'Logs', {
      logGroupName: `/${settings.name}/${name}`,
      retention: props.logDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.definition = new ecs.FargateTaskDefinition(this, 'Definition', {
      family: `${settings.name}-${name}`,
      cpu: props.size.cpu,
      memoryLimitMiB: props.size.memoryMiB,
      runtimePlatform: {
        cpuArchitecture: ecs.CpuArchitecture.X86_64,
        operatingSystemFamily: ecs.OperatingSystemFamily.LINUX,
      },
    });
    if (role.inbox.length > 0) {
      const statement = new iam.PolicyStatement({ actions: [...role.inbox], resources: [stores.inbox.table.tableArn] });
      this.definition.addToTaskRolePolicy(statement);
    }
    const repository = ecr.Repository.fromRepositoryName(this, 'Repository', settings.imageRepository);
    const image = ecs.ContainerImage.fromEcrRepository(repository, settings.imageTag);
    let before: ecs.ContainerDefinition | undefined;
    role.commands.forEach((command, at) => {
      const container = this.definition.addContainer(role.commands.length > 1 ? command.join('-') : name, {
        image,
        command: [...command],
        environment: environment(role, props),
        secrets: secrets(role, stores),
        logging: ecs.LogDrivers.awsLogs({ logGroup: this.logs, streamPrefix: name }),
        readonlyRootFilesystem: true,
        essential: at === role.commands.length - 1,
        ...(props.service ? SERVICE : {}),
      });
      // One after the other; what follows a failure doesn't start.
      const condition = ecs.ContainerDependencyCondition.SUCCESS;
      if (before !== undefined) container.addContainerDependencies({ container: before, condition });
      before = container;
    });
    if (name === 'gateway') {
      const mappings = Object.values(PORTS).map((port) => ({ containerPort: port }));
      this.definition.defaultContainer?.addPortMappings(...mappings);
    }
  }
}

/** `/livez` asks no dependency: a database that is down doesn't get every task restarted. */
const SERVICE = {
  healthCheck: {
    command: ['CMD', 'curl', '-fsS', '-m', '4', `http://127.0.0.1:${PORTS.admin}/livez`],
    interval: Duration.seconds(15),
    timeout: Duration.seconds(5),
    retries: 3,
    startPeriod: Duration.seconds(30),
  },
  // Longer than any drain: the gateway's is 15 s and 10 s, delivery's 20 s.
  stopTimeout: Duration.seconds(60),
};

function environment(role: Role, { stores, settings, service }: TaskProps): Record<string, string> {
  const topics = role.commands.some(([first]) => first === 'topics');
  return {
    TRIGGERLINE_LOG__FORMAT: 'json',
    ...(role.stores.includes('kafka') && {
      TRIGGERLINE_KAFKA__BROKERS: stores.kafka.brokers,
      TRIGGERLINE_KAFKA__PROPERTIES__SECURITY_PROTOCOL: 'SSL',
      // Said outright: where an OpenSSL that is built into the binary would look depends on who built it.
      TRIGGERLINE_KAFKA__PROPERTIES__SSL_CA_LOCATION: ROOTS.web,
    }),
    ...(role.inbox.length > 0 && { TRIGGERLINE_INBOX__URL: stores.inbox.url }),
    ...(service && { TRIGGERLINE_ADMIN__LISTEN: `0.0.0.0:${PORTS.admin}` }),
    ...(topics && {
      TRIGGERLINE_TOPICS__PARTITIONS: `${settings.partitions}`,
      TRIGGERLINE_TOPICS__REPLICATION: `${BROKERS}`,
    }),
    ...role.environment,
  };
}

function secrets(role: Role, { control, cache, secrets }: Stores): Record<string, ecs.Secret> {
  const from = ecs.Secret.fromSecretsManager;
  return {
    ...(role.stores.includes('control') && { TRIGGERLINE_CONTROL__URL: from(control.url) }),
    ...(role.stores.includes('cache') && { TRIGGERLINE_CACHE__URL: from(cache.url) }),
    ...(role.pepper && { TRIGGERLINE_CONTROL__PEPPER: from(secrets.pepper) }),
    ...(role.secretKeys && { TRIGGERLINE_CONTROL__SECRET_KEYS: from(secrets.secretKeys) }),
  };
}
