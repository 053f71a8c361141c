import { createPublicKey } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { keyId } from '@warren/rabbitmq';

/** A pair of which the broker knows the public half. */
export interface SigningPair {
  /** Names it in tokens and on the broker. */
  kid: string;
  /** PEM. */
  privateKey: string;
  publicKey: string;
}

/** Which key a token says that it is signed with; of one that is no JWT, none. */
export function keyIdOf(token: string): string | undefined {
  try {
    const kid: unknown = jwt.decode(token, { complete: true })?.header.kid;
    return typeof kid === 'string' ? kid : undefined;
  } catch {
    // Header or claims are not JSON.
    return undefined;
  }
}

/** The PEM blocks of a text that holds one private key or several. */
export const splitPem = (text: string): string[] =>
  text.match(/-----BEGIN [A-Z ]+-----[^-]+-----END [A-Z ]+-----/g) ?? [];

function toPair(privateKey: string): SigningPair {
  const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString();
  return { kid: keyId(privateKey), privateKey, publicKey };
}

/**
 * The keys that Warren signs with. The first one signs; the others are those of before, whose tokens
 * are still good.
 */
export class KeyRing {
  #pairs: SigningPair[];

  /** @param pem one private key in PEM, or several, the newest first. */
  constructor(pem: string) {
    this.#pairs = splitPem(pem).map(toPair);
  }

  get signing(): SigningPair {
    const [first] = this.#pairs;
    if (first === undefined) throw new TypeError('There is no signing key.');
    return first;
  }

  find(kid: string | undefined): SigningPair | undefined {
    return this.#pairs.find((pair) => pair.kid === kid);
  }

  replaceBy(other: KeyRing): void {
    this.#pairs = other.#pairs;
  }
}
