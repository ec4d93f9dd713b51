/**
 * Secrets: made by AWS, kept in Secrets Manager, never in a template.
 *
 * Triggerline takes an address with the password in it. Such a text is a secret of its own, composed by
 * CloudFormation from the generated one: the template holds a reference, `{{resolve:secretsmanager:…}}`,
 * and only CloudFormation reads what it leads to.
 */
import { RemovalPolicy, SecretValue } from 'aws-cdk-lib';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';

/** The text in a secret, by reference. */
export type Reference = string;

/** Letters and digits only, so that it may stand in an address and in base64 as it is. */
export function generate(scope: Construct, id: string, what: string, length: number): secretsmanager.Secret {
  return keep(
    new secretsmanager.Secret(scope, id, {
      description: `Triggerline: ${what}`,
      generateSecretString: { passwordLength: length, excludePunctuation: true },
    }),
  );
}

/** A user's name and a generated password, in the form that RDS reads. */
export function generateLogin(scope: Construct, id: string, what: string, user: string): secretsmanager.Secret {
  return keep(
    new secretsmanager.Secret(scope, id, {
      description: `Triggerline: ${what}`,
      generateSecretString: {
        secretStringTemplate: JSON.stringify({ username: user }),
        generateStringKey: 'password',
        passwordLength: 40,
        excludePunctuation: true,
      },
    }),
  );
}

/** A text with references to secrets in it. */
export function compose(scope: Construct, id: string, what: string, text: string): secretsmanager.Secret {
  return keep(
    new secretsmanager.Secret(scope, id, {
      description: `Triggerline: ${what}`,
      // "Unsafe" of a text that is a secret itself; this one only refers to some.
      secretStringValue: SecretValue.unsafePlainText(text),
    }),
  );
}

export const refer = (secret: secretsmanager.Secret, member?: string): Reference =>
  (member === undefined ? secret.secretValue : secret.secretValueFromJson(member)).unsafeUnwrap();

/** Whoever loses the pepper loses all API keys, whoever loses the sealing key all signing secrets. */
function keep(secret: secretsmanager.Secret): secretsmanager.Secret {
  secret.applyRemovalPolicy(RemovalPolicy.RETAIN);
  return secret;
}

/** What isn't a store's. */
export class Secrets extends Construct {
  /** control.pepper */
  readonly pepper: secretsmanager.Secret;
  /** control.secret_keys */
  readonly secretKeys: secretsmanager.Secret;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    this.pepper = generate(this, 'Pepper', 'what API keys are hashed with (control.pepper)', 64);
    // 32 bytes in base64 are 43 digits and a "="; the last digit carries 4 bits and must end in 00, as "A" does.
    // So 42 letters and digits are drawn (250 bits of chance), and the end is always the same.
    const material = generate(this, 'SealingMaterial', 'what the sealing key is made of', 42);
    const what = 'what secrets of subscriptions are sealed with (control.secret_keys)';
    this.secretKeys = compose(this, 'SecretKeys', what, `k1:${refer(material)}A=`);
  }
}
