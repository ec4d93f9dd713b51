/**
 * The inbox: one DynamoDB table, made from inbox-table.json. `triggerline migrate` makes the same one where
 * there is none (crates/store/src/dynamo/table.rs), and a test there holds it to the same file.
 */
import { Aws, RemovalPolicy } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import { Construct } from 'constructs';

import definition from '../inbox-table.json';

export class Inbox extends Construct {
  readonly table: dynamodb.Table;
  /** inbox.url */
  readonly url: string;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    this.table = new dynamodb.Table(this, 'Table', {
      partitionKey: key('HASH'),
      sortKey: key('RANGE'),
      billingMode: definition.BillingMode as dynamodb.BillingMode,
      timeToLiveAttribute: definition.TimeToLiveSpecification.AttributeName,
      encryption: dynamodb.TableEncryption.AWS_MANAGED,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      deletionProtection: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });
    this.url = `dynamodb:${this.table.tableName}?region=${Aws.REGION}`;
  }
}

function key(type: string): dynamodb.Attribute {
  const name = definition.KeySchema.find((one) => one.KeyType === type)?.AttributeName;
  const attribute = definition.AttributeDefinitions.find((one) => one.AttributeName === name);
  if (attribute === undefined) throw new Error(`inbox-table.json defines no ${type} key`);
  return { name: attribute.AttributeName, type: attribute.AttributeType as dynamodb.AttributeType };
}
