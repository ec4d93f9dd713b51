/**
 * What is watched: each line a metric of AWS's, the bound that it shouldn't pass, and what to think when it does. Alarms
 * and dashboard are both made from these (../alarms.ts), so they can't disagree.
 *
 * Triggerline's own metrics (docs/metrics.md) aren't here: nobody collects /metrics on Fargate yet. What it logs as an
 * ERROR is, because that means that a person must look.
 */
import type { Construct } from 'constructs';

import type { Entrance } from '../entrance';
import type { Services } from '../services';
import type { Settings } from '../settings';
import type { Stores } from '../task';
import { door, lag, tasks } from './services';
import { cache, control, inbox, kafka } from './stores';
import type { Watch, Watched } from './watch';

export type { Watch } from './watch';

const section = (name: Watch['section'], watched: readonly Watched[]): Watch[] =>
  watched.map((watch) => ({ section: name, ...watch }));

export function watches(
  scope: Construct,
  settings: Settings,
  stores: Stores,
  services: Services,
  entrance: Entrance,
): Watch[] {
  return [
    ...section('Entrance', door(entrance)),
    ...section('Services', tasks(scope, settings, services)),
    ...section('Lag', lag(stores)),
    ...section('Kafka', kafka(stores)),
    ...section('Inbox', inbox(stores)),
    ...section('Control store', control(settings, stores)),
    ...section('Cache', cache(stores)),
  ];
}
