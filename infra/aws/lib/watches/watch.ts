/** What a watch is, and what most of them share. */
import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';

import type { Stores } from '../task';

export interface Watch {
  readonly section: 'Entrance' | 'Services' | 'Lag' | 'Kafka' | 'Inbox' | 'Control store' | 'Cache';
  /** Unique; the alarm's name. */
  readonly name: string;
  readonly metric: cloudwatch.IMetric;
  /** Beyond which it is wrong: above, or below where `below` says so. */
  readonly bound: number;
  readonly below?: true;
  /** For so many minutes in a row. */
  readonly minutes: number;
  /** For the person who is woken. */
  readonly says: string;
  /** No data is wrong too. */
  readonly silence?: true;
}

/** Before its section is known. */
export type Watched = Omit<Watch, 'section'>;

export const MINUTE = { period: Duration.minutes(1) };

/** A metric of MSK's. */
export const broker = (stores: Stores, metricName: string, statistic: string, rest: cloudwatch.DimensionsMap = {}) =>
  new cloudwatch.Metric({
    namespace: 'AWS/Kafka',
    metricName,
    statistic,
    dimensionsMap: { 'Cluster Name': stores.kafka.clusterName, ...rest },
    ...MINUTE,
  });
