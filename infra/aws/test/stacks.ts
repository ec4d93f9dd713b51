/** What the tests look at: both templates, as the CDK's own command made them, and the checkout that they are held against. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { Template } from 'aws-cdk-lib/assertions';

/** Where a checkout begins, seen from build/test. */
const ROOT = join(__dirname, '../../../..');

/** As CloudFormation has it. With `unknown` every line of a test would be a cast. */
export type Json = any;

export interface Resource {
  readonly id: string;
  readonly Type: string;
  readonly Properties: Json;
  readonly DeletionPolicy?: string;
}

/** What `cdk synth` wrote: test.sh says where. */
function synthesized(stack: string): Template {
  const folder = process.env['TRIGGERLINE_SYNTHESIZED'];
  if (folder === undefined) throw new Error('TRIGGERLINE_SYNTHESIZED names no folder: run ./test.sh');
  return Template.fromString(readFileSync(join(folder, `triggerline-${stack}.template.json`), 'utf8'));
}

export const templates = [synthesized('base'), synthesized('services')];

/** Of both stacks, those of a type, or all. */
export function resources(type?: string): Resource[] {
  return templates.flatMap((template) =>
    Object.entries<Json>(template.toJSON().Resources)
      .map(([id, resource]) => ({ id, ...resource }))
      .filter((resource) => type === undefined || resource.Type === type),
  );
}

/** The only one of a type. */
export function only(type: string): Resource {
  const [found, ...others] = resources(type);
  if (found === undefined || others.length > 0) throw new Error(`there isn't one ${type}`);
  return found;
}

export const source = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
