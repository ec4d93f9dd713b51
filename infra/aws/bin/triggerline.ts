/** What `cdk` runs: the settings from the command line, and the two stacks made of them. */
import { App } from 'aws-cdk-lib';

import { readSettings } from '../lib/settings';
import { stacks } from '../lib/stacks';

const app = new App();
stacks(app, readSettings(app.node));
