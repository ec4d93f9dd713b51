/** Alarms: each tells somebody, each is on the dashboard, and what must be watched is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Json, only, resources } from './stacks';

const alarms = resources('AWS::CloudWatch::Alarm').map(({ Properties }) => Properties);
const metrics = (alarm: Json): string[] =>
  alarm.MetricName ? [alarm.MetricName] : alarm.Metrics.flatMap((one: Json) => one.MetricStat?.Metric.MetricName ?? []);

test('every alarm tells the topic, and when it is over too', () => {
  const topic = [{ Ref: only('AWS::SNS::Topic').id }];
  for (const alarm of alarms) {
    assert.deepEqual(alarm.AlarmActions, topic, alarm.AlarmName);
    assert.deepEqual(alarm.OKActions, topic, alarm.AlarmName);
    assert.ok(alarm.AlarmDescription.length > 20, alarm.AlarmName);
  }
});

test('what must be watched is watched', () => {
  const watched = new Set(alarms.flatMap(metrics));
  const wanted = [
    'HTTPCode_ELB_5XX_Count', 'HTTPCode_Target_5XX_Count', 'TargetResponseTime',
    'DesiredTaskCount', 'RunningTaskCount',
    'EstimatedMaxTimeLag', 'SumOffsetLag', 'OfflinePartitionsCount', 'KafkaDataLogsDiskUsed', 'UnderMinIsrPartitionCount',
    'WriteThrottleEvents', 'ReadThrottleEvents', 'SystemErrors',
    'CPUUtilization', 'FreeStorageSpace', 'DatabaseConnections',
    'DatabaseMemoryUsagePercentage', 'EngineCPUUtilization',
  ];
  for (const metric of wanted) assert.ok(watched.has(metric), metric);
});

test('lag is watched of every group, by the name that Kafka knows it under', () => {
  const groups = alarms
    .filter(({ MetricName }) => MetricName === 'SumOffsetLag')
    .map(({ Dimensions }) => Object.fromEntries(Dimensions.map(({ Name, Value }: Json) => [Name, Value])))
    .map((found) => `${found['Consumer Group']} ${found.Topic} ${found['Cluster Name']}`);
  assert.deepEqual(groups.sort(), [
    'triggerline.delivery triggerline.deliveries triggerline',
    'triggerline.matcher triggerline.events triggerline',
    'triggerline.storage triggerline.attempts triggerline',
    'triggerline.storage triggerline.events triggerline',
  ]);
});

test('the dashboard shows what the alarms watch', () => {
  const body = JSON.stringify(only('AWS::CloudWatch::Dashboard').Properties.DashboardBody);
  for (const metric of alarms.flatMap(metrics)) assert.ok(body.includes(metric), metric);
});
