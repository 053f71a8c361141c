import { createECDH, createHash, ECDH } from 'node:crypto';
import { pushSubscriptionSchema } from '@warren/protocol';
import webPush from 'web-push';
import { post } from '../../outbound/post.js';
import {
  PROVIDER_TIMEOUT_MS,
  resultOf,
  type OutgoingPush,
  type PushProvider,
  type PushResult,
} from './provider.js';

export interface WebPushOptions {
  /** The private key as base64url: 32 bytes of P-256 (RFC 8292). */
  vapidPrivateKey: string;
  /** `mailto:` or `https:`: whom push services turn to. */
  vapidSubject: string;
  /**
   * Hosts that browsers' subscriptions may name, with the port where it is not 443; `*.` stands for any
   * subdomains. Clients choose the address: without this they could have the server post to any.
   */
  hosts: string[];
}

/** The push services of Chrome, Firefox, Safari and Edge. */
export const DEFAULT_WEB_PUSH_HOSTS: readonly string[] = [
  'fcm.googleapis.com',
  '*.push.services.mozilla.com',
  '*.push.apple.com',
  '*.notify.windows.com',
];

/** Browsers, by Web Push (RFC 8030) with encrypted payloads (RFC 8291). */
export class WebPushProvider implements PushProvider {
  readonly name = 'webpush';
  readonly batchSize = 1;
  /** What browsers subscribe with, as base64url. */
  readonly publicKey: string;
  readonly #options: WebPushOptions;
  /** By origin. */
  readonly #authorizations = new Map<string, { header: string; renewAt: number }>();

  constructor(options: WebPushOptions) {
    this.#options = options;
    this.publicKey = vapidPublicKey(options.vapidPrivateKey);
  }

  check(token: string): string | undefined {
    const { endpoint, keys } = pushSubscriptionSchema.parse(JSON.parse(token));
    const { protocol, hostname, host, username, password } = new URL(endpoint);
    const isKnown = this.#options.hosts.some((known) =>
      known.startsWith('*.') ? host.endsWith(known.slice(1)) : host === known,
    );
    if (username + password !== '') return 'The endpoint must not hold a name or a password.';
    if (!isKnown) return 'The endpoint is at no push service that this server knows.';
    const isHere = ['127.0.0.1', 'localhost', '[::1]'].includes(hostname);
    if (protocol !== 'https:' && !isHere) return 'The endpoint must be at an https: address.';
    if (Buffer.from(keys.auth, 'base64url').length !== 16) return 'keys.auth must be 16 bytes.';
    return isPoint(keys.p256dh) ? undefined : 'keys.p256dh must be a point of P-256, uncompressed.';
  }

  send(pushes: OutgoingPush[]): Promise<PushResult[]> {
    return Promise.all(pushes.map((push) => this.#send(push)));
  }

  /** Made once for each push service: signing takes longer than all the rest of a push. */
  #authorizationFor(origin: string): string {
    const known = this.#authorizations.get(origin);
    if (known !== undefined && known.renewAt > Date.now()) return known.header;
    const { vapidPrivateKey, vapidSubject } = this.#options;
    const { Authorization: header } = webPush.getVapidHeaders(
      origin,
      vapidSubject,
      this.publicKey,
      vapidPrivateKey,
      'aes128gcm',
      Math.floor((Date.now() + 12 * HOUR_MS) / 1000),
    );
    // Somebody may have registered any number of subdomains.
    if (this.#authorizations.size >= MOST_ORIGINS) this.#authorizations.clear();
    this.#authorizations.set(origin, { header, renewAt: Date.now() + 6 * HOUR_MS });
    return header;
  }

  async #send({ token, payload, expiresAt }: OutgoingPush): Promise<PushResult> {
    // It may have been registered when other hosts were allowed.
    const problem = this.check(token);
    if (problem !== undefined) return { kind: 'refused', reason: 'refused', detail: problem };
    const { endpoint, headers, body } = webPush.generateRequestDetails(
      pushSubscriptionSchema.parse(JSON.parse(token)),
      JSON.stringify(payload),
      {
        TTL: Math.max(0, Math.ceil((expiresAt - Date.now()) / 1000)),
        urgency: 'high',
        topic: topicOf(payload.tag),
      },
    );
    const { 'Content-Length': _, ...others } = headers as Record<string, unknown>;
    const answer = await post(endpoint, {
      headers: {
        ...Object.fromEntries(Object.entries(others).map(([name, value]) => [name, String(value)])),
        authorization: this.#authorizationFor(new URL(endpoint).origin),
      },
      body,
      timeoutMs: PROVIDER_TIMEOUT_MS,
    });
    // The subscription has ended (RFC 8030, 7.3): 404 from services that have forgotten it.
    const hasEnded = typeof answer !== 'string' && [404, 410].includes(answer.status);
    if (hasEnded) return { kind: 'unregistered' };
    return resultOf(answer);
  }
}

const HOUR_MS = 60 * 60 * 1000;
const MOST_ORIGINS = 1000;

/** A push service keeps only the newest of a topic, which has 32 characters of base64url at most. */
const topicOf = (tag: string): string =>
  createHash('sha256').update(tag, 'utf8').digest('base64url').slice(0, 32);

/** @throws when it is no key of P-256. */
export function vapidPublicKey(privateKey: string): string {
  const bytes = Buffer.from(privateKey, 'base64url');
  if (bytes.length !== 32) throw new TypeError('A VAPID key has 32 bytes.');
  const key = createECDH('prime256v1');
  key.setPrivateKey(bytes);
  return key.getPublicKey('base64url');
}

/** @returns a new private key as base64url. */
export function newVapidKey(): string {
  return webPush.generateVAPIDKeys().privateKey;
}

function isPoint(key: string): boolean {
  const bytes = Buffer.from(key, 'base64url');
  if (bytes.length !== 65) return false;
  try {
    ECDH.convertKey(bytes, 'prime256v1');
    return true;
  } catch {
    return false;
  }
}
