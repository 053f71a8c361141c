import { readFile, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { generateSigningKey, keyId } from '@warren/rabbitmq';
import { probeKey, type LoginVerdict } from '../broker/login-probe.js';
import { CommandError } from '../command-error.js';
import { judgeCertificate } from '../doctor/certificates.js';
import { newVapidKey, vapidPublicKey } from '../push/providers/web-push.js';
import { KeyRing } from '../sessions/key-ring.js';
import { VARIABLES } from '../variables.js';

/**
 * Makes a key beside nothing that is there, and says how brokers come to know it.
 * @throws {CommandError} when the file exists.
 */
export async function newKey(file: string): Promise<string> {
  const { privateKey, publicKey } = await generateSigningKey();
  const publicFile = `${file.replace(/\.pem$/, '')}.pub.pem`;
  try {
    await writeFile(file, privateKey, { mode: 0o600, flag: 'wx' });
    await writeFile(publicFile, publicKey, { flag: 'wx' });
  } catch (error) {
    throw new CommandError(
      `${file} or ${publicFile} cannot be written, or is there already.`,
      'Choose another name: a key is never replaced in place, since tokens signed with it live on.',
      { cause: error },
    );
  }
  const kid = keyId(privateKey);
  const onBroker = `/etc/rabbitmq/${basename(publicFile)}`;
  return `The key ${kid}: ${file} for the server, ${publicFile} for the broker.

1. On every node of the broker, for now and for its next start:
     rabbitmqctl add_signing_key ${kid} --pem-file=${onBroker}     (before 4.0: add_uaa_key)
     auth_oauth2.signing_keys.${kid} = ${onBroker}                 (in rabbitmq.conf)
2. Put it before the old one in the file of WARREN_SIGNING_KEY_FILE:
     cat ${file} old.pem > both.pem
3. Send each server SIGHUP. It asks the broker first, and goes on with the old key if the new one is
   not known there; its log says which.
4. When WARREN_SESSION_TTL_SECONDS have passed, and the longest life of a token of
   POST /v1/users/:id/tokens, take the old key out of the file and off the broker.
`;
}

/** Browsers subscribe with the public half, so that another key later means other subscriptions. */
export function vapidKey(): string {
  const key = newVapidKey();
  return `WARREN_VAPID_PRIVATE_KEY=${key}
WARREN_VAPID_SUBJECT=mailto:you@example.com

Keep the key: subscriptions are bound to its public half, ${vapidPublicKey(key)},
and a new one would have every browser subscribe again.
`;
}

const VERDICTS: Record<LoginVerdict, string> = {
  accepted: 'The broker accepts tokens that are signed with it.',
  refused: 'The broker refuses tokens that are signed with it.',
  unreachable: 'The broker did not answer.',
};

/** @throws {CommandError} unless the broker accepts the key of this file. */
export async function checkKey(amqpUrl: string, file: string): Promise<string> {
  const keys = await readKey(file);
  const { verdict, error } = await probeKey(amqpUrl, keys);
  const text = `The key ${keys.signing.kid}: ${VERDICTS[verdict]}`;
  if (verdict === 'accepted') return `${text}\n`;
  const certificate = judgeCertificate(new URL(amqpUrl).host, error);
  if (certificate !== undefined) {
    throw new CommandError(certificate.what, certificate.remedy ?? '', { cause: error });
  }
  throw new CommandError(
    text,
    verdict === 'refused'
      ? 'Add its public half there (docs/operating.md, "Exchanging keys").'
      : 'Check WARREN_AMQP_URL, and that the broker runs.',
  );
}

async function readKey(file: string): Promise<KeyRing> {
  const text = await readFile(file, 'utf8').catch(() => '');
  if (VARIABLES.WARREN_SIGNING_KEY.safeParse(text).success) return new KeyRing(text);
  throw new CommandError(
    `${file} cannot be read, or holds no RSA private key of 2048 bits or more.`,
    'Name a file that "warren keys new" has made.',
  );
}
