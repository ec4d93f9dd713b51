/**
 * Alarms and the dashboard, made from the watches: one alarm each, all to one topic, and one graph each, with the
 * bound drawn in.
 */
import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as sns from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { Construct } from 'constructs';

import type { Settings } from './settings';
import type { Watch } from './watches';

export class Alarms extends Construct {
  constructor(scope: Construct, id: string, settings: Settings, watches: readonly Watch[]) {
    super(scope, id);
    // Not encrypted with a key: CloudWatch can't publish under AWS's own, and an alarm says no secret.
    const topic = new sns.Topic(this, 'Topic', { topicName: `${settings.name}-alarms`, enforceSSL: true });
    if (settings.alarmEmail !== undefined) topic.addSubscription(new EmailSubscription(settings.alarmEmail));
    const action = new SnsAction(topic);

    const dashboard = new cloudwatch.Dashboard(this, 'Dashboard', {
      dashboardName: settings.name,
      defaultInterval: Duration.hours(3),
    });
    for (const section of new Set(watches.map((watch) => watch.section))) {
      dashboard.addWidgets(new cloudwatch.TextWidget({ markdown: `## ${section}`, width: 24, height: 1 }));
      const graphs = watches.filter((watch) => watch.section === section).map((watch) => {
        const alarm = this.alarm(settings, watch);
        alarm.addAlarmAction(action);
        alarm.addOkAction(action);
        return graph(watch, alarm);
      });
      dashboard.addWidgets(...graphs);
    }
  }

  private alarm(settings: Settings, watch: Watch): cloudwatch.Alarm {
    return new cloudwatch.Alarm(this, watch.name, {
      alarmName: `${settings.name}-${watch.name}`,
      alarmDescription: watch.says,
      metric: watch.metric,
      threshold: watch.bound,
      comparisonOperator: watch.below
        ? cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
        : cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
      evaluationPeriods: watch.minutes,
      treatMissingData: watch.silence ? cloudwatch.TreatMissingData.BREACHING : cloudwatch.TreatMissingData.NOT_BREACHING,
    });
  }
}

const graph = (watch: Watch, alarm: cloudwatch.Alarm): cloudwatch.GraphWidget =>
  new cloudwatch.GraphWidget({
    title: watch.name,
    left: [watch.metric],
    leftAnnotations: [alarm.toAnnotation()],
    leftYAxis: { min: 0 },
    width: 8,
    height: 5,
  });
