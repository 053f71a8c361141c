import type { z } from 'zod';
import type { ConfigProblem } from '../plaintext.js';
import type { Environment, pushWorkerSchema } from '../variables.js';
import type { ProviderSettings } from './providers/index.js';
import type { PushLimits } from './worker.js';

type PushVariables = z.output<typeof pushWorkerSchema>;

export function toProviders(values: PushVariables): ProviderSettings {
  const {
    WARREN_VAPID_PRIVATE_KEY: vapidPrivateKey,
    WARREN_VAPID_SUBJECT: vapidSubject,
    WARREN_WEBPUSH_HOSTS: hosts,
    WARREN_FCM_SERVICE_ACCOUNT: account,
    WARREN_FCM_URL: url,
    WARREN_PUSH_WEBHOOK_URL: webhookUrl,
    WARREN_WEBHOOK_SECRET: secret,
  } = values;
  return {
    webpush:
      vapidPrivateKey === undefined || vapidSubject === undefined
        ? undefined
        : { vapidPrivateKey, vapidSubject, hosts },
    fcm: account && { account, url },
    webhook:
      webhookUrl === undefined || secret === undefined ? undefined : { url: webhookUrl, secret },
  };
}

export const toPushLimits = (values: PushVariables): PushLimits => ({
  attempts: values.WARREN_PUSH_ATTEMPTS,
  rates: {
    webpush: values.WARREN_RATE_WEBPUSH,
    fcm: values.WARREN_RATE_FCM,
    webhook: values.WARREN_RATE_PUSH_WEBHOOK,
  },
});

/** Variables that need each other. */
export function pushContradictions(values: Environment): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const pair = ['WARREN_VAPID_PRIVATE_KEY', 'WARREN_VAPID_SUBJECT'] as const;
  for (const [variable, other] of [pair, [pair[1], pair[0]]] as const) {
    if (values[variable] === undefined || values[other] !== undefined) continue;
    problems.push({ variable: other, message: `set it together with ${variable}` });
  }
  if (values['WARREN_PUSH_WEBHOOK_URL'] !== undefined) requireSecret(values, problems);
  return problems;
}

/** Of whatever posts to the application. */
export function requireSecret(values: Environment, problems: ConfigProblem[]): void {
  const variable = 'WARREN_WEBHOOK_SECRET';
  if (values[variable] !== undefined) return;
  if (problems.some((problem) => problem.variable === variable)) return;
  const message = 'is required: the application tells by it that Warren asks, and nobody else';
  problems.push({ variable, message });
}
