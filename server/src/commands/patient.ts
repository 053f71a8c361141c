import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ManagementApi } from '../broker/management.js';
import { usualMetricsUrl } from '../config.js';
import { readDevInfo } from '../dev/index.js';
import { findPlaintext, PLAINTEXT_VARIABLES } from '../plaintext.js';
import { KeyRing } from '../sessions/key-ring.js';
import { gather } from '../variables.js';
import type { Patient } from './doctor.js';
import { brokerNames, managementOf, readVariables } from './environment.js';

/** The broker of the variables; without WARREN_AMQP_URL, the one of what runs on a data directory. */
export async function readPatient(dataDir: string): Promise<Patient> {
  const { WARREN_AMQP_URL: amqpUrl } = readVariables('WARREN_AMQP_URL');
  return amqpUrl === undefined ? await privateBroker(dataDir) : ownBroker(amqpUrl);
}

function ownBroker(amqpUrl: string): Patient {
  const names = brokerNames(amqpUrl);
  const given = readVariables(
    'WARREN_SIGNING_KEY',
    'WARREN_MANAGEMENT_URL',
    'WARREN_BROKER_METRICS_URL',
    'WARREN_PUBLIC_STOMP_URL',
    'WARREN_MAILBOX_TYPE',
    'WARREN_CORS_ORIGINS',
  );
  const { WARREN_SIGNING_KEY: signingKey, WARREN_MANAGEMENT_URL: managementUrl } = given;
  return {
    amqpUrl,
    management: managementOf(names),
    names,
    keys: signingKey === undefined ? undefined : new KeyRing(signingKey),
    stompUrls: given.WARREN_PUBLIC_STOMP_URL ?? [],
    metricsUrls:
      given.WARREN_BROKER_METRICS_URL ??
      (managementUrl === undefined ? [] : [usualMetricsUrl(managementUrl)]),
    mailboxType: given.WARREN_MAILBOX_TYPE ?? 'auto',
    pages: given.WARREN_CORS_ORIGINS ?? [],
    // As they are written. What cannot be read is for the server to say.
    plaintext: findPlaintext(gather(process.env, [], PLAINTEXT_VARIABLES), true),
  };
}

async function privateBroker(dataDir: string): Promise<Patient> {
  const { amqpUrl: backendUrl, managementUrl, stompUrl } = await readDevInfo(dataDir);
  // The server's account is the one to look at.
  const amqpUrl = new URL(backendUrl);
  ({ username: amqpUrl.username, password: amqpUrl.password } = new URL(managementUrl));
  const names = brokerNames(amqpUrl.href);
  const keyFile = join(dataDir, 'broker', 'keys', 'signing-key.pem');
  const key = await readFile(keyFile, 'utf8').catch(() => undefined);
  return {
    amqpUrl: amqpUrl.href,
    management: new ManagementApi(managementUrl, names.vhost),
    names,
    keys: key === undefined ? undefined : new KeyRing(key),
    stompUrls: [stompUrl],
    metricsUrls: [],
    mailboxType: readVariables('WARREN_MAILBOX_TYPE').WARREN_MAILBOX_TYPE ?? 'auto',
    pages: [],
    plaintext: [],
  };
}
