import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsFiles } from '@warren/rabbitmq';

export interface Certificates {
  files: TlsFiles;
  ca: string;
  cert: string;
  key: string;
  /** What Chromium calls the key: base64 of the SHA-256 of its public half. */
  spki: string;
  remove: () => Promise<void>;
}

/** A CA of one's own, and a certificate of localhost that it has signed. */
export async function makeCertificates(): Promise<Certificates> {
  const dir = await mkdtemp(join(tmpdir(), 'warren-tls-'));
  const at = (name: string) => join(dir, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' });
  const key = ['-newkey', 'rsa:2048', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
    '-days',
    '2',
    '-subj',
    '/CN=CA',
  );
  openssl('req', ...key, '-keyout', 'key.pem', '-out', 'request.pem', '-subj', '/CN=localhost');
  await writeFile(at('names'), 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n');
  const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'];
  openssl('x509', '-req', '-in', 'request.pem', ...signed, '-out', 'cert.pem', '-extfile', 'names');
  const der = openssl('pkey', '-in', 'key.pem', '-pubout', '-outform', 'der');
  const { createHash } = await import('node:crypto');
  return {
    files: { ca: at('ca.pem'), cert: at('cert.pem'), key: at('key.pem') },
    ca: await readFile(at('ca.pem'), 'utf8'),
    cert: await readFile(at('cert.pem'), 'utf8'),
    key: await readFile(at('key.pem'), 'utf8'),
    spki: createHash('sha256').update(der).digest('base64'),
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}
