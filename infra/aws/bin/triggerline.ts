/** What `cdk` runs: the settings from the command line, and the two stacks made of them. */
import { App } from 'aws-cdk-lib';

import { readSettings, type Settings } from '../lib/settings';
import { stacks } from '../lib/stacks';

const app = new App();
stacks(app, settings());

/** Those that make no sense are told in a sentence, with the status that `triggerline` has for it. */
function settings(): Settings {
  try {
    return readSettings(app.node);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(64);
  }
}
