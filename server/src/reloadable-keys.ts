import type { LoginVerdict } from './broker/login-probe.js';
import type { AdminKey } from './http/access.js';

export interface ReloadableKeys {
  /** One private key in PEM that the broker knows, or several, the newest first. */
  signingKey: string;
  serviceKeys: string[];
  adminKeys: AdminKey[];
}

/** The broker refuses tokens that are signed with a key, or could not be asked. */
export class UnknownKeyError extends Error {
  override readonly name = 'UnknownKeyError';
  readonly code = 'unknown_key';
  readonly remedy = 'Add its public half on every node of the broker first (docs/operating.md).';
  constructor(kid: string, verdict: Exclude<LoginVerdict, 'accepted'>) {
    super(
      verdict === 'refused'
        ? `The broker refuses tokens that are signed with the key ${kid}.`
        : `The broker could not be asked whether it knows the key ${kid}.`,
    );
  }
}
