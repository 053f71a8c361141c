import { createHash, createPublicKey, generateKeyPair } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** The pair that signs clients' tokens; the broker knows the public half only. */
export interface SigningKey {
  /** Names the key on the broker and in each token's header. */
  kid: string;
  /** PKCS #8 PEM. */
  privateKey: string;
  /** Where the public half lies, as SPKI PEM. */
  publicKeyPath: string;
}

/**
 * A key's id is made from its public half, so that the server and the broker's configuration
 * agree without having to be told. Hexadecimal, since it becomes part of a key in rabbitmq.conf.
 */
export function keyId(key: string): string {
  const der = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return `k${createHash('sha256').update(der).digest('hex').slice(0, 16)}`;
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';

/** A new pair in PEM: RSA, since verifying is what a reconnect storm costs the broker. */
export async function generateSigningKey(): Promise<{ privateKey: string; publicKey: string }> {
  const pair = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  return {
    privateKey: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: pair.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
}

/** Reads the key in `dir`, or makes one. */
export async function ensureSigningKey(dir: string): Promise<SigningKey> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const privatePath = join(dir, 'signing-key.pem');
  const publicKeyPath = join(dir, 'signing-key.pub.pem');
  let privateKey: string;
  try {
    privateKey = await readFile(privatePath, 'utf8');
  } catch (error) {
    if (!isMissing(error)) throw error;
    ({ privateKey } = await generateSigningKey());
    await writeFile(privatePath, privateKey, { mode: 0o600 });
  }
  const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'pem' });
  await writeFile(publicKeyPath, publicKey, { mode: 0o644 });
  return { kid: keyId(privateKey), privateKey, publicKeyPath };
}
