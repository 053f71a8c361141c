import {
  createDecipheriv,
  createECDH,
  createPublicKey,
  hkdfSync,
  randomBytes,
  type ECDH,
} from 'node:crypto';
import jwt from 'jsonwebtoken';
import type { PushPayload } from '@warren/protocol';
import { HttpService, type Behaviour, type ReceivedRequest } from './http-service.js';

export interface ReceivedPush {
  /** Whose subscription it came to. */
  name: string;
  payload: PushPayload;
  ttlSeconds: number;
  topic: string | undefined;
  urgency: string | undefined;
  /** The subject of the VAPID token. */
  subject: unknown;
}

/** A push service with the browsers behind it: it checks VAPID (RFC 8292), they decrypt (RFC 8291). */
export class WebPushService {
  readonly received: ReceivedPush[] = [];
  /** What went wrong in taking a push; stays empty. */
  readonly complaints: string[] = [];
  /** Asked before a push is taken; undefined takes it. */
  behave: (name: string, topic: string) => Behaviour | undefined = () => undefined;
  readonly #browsers = new Map<string, { keys: ECDH; auth: Buffer }>();
  #service!: HttpService;

  static async start(): Promise<WebPushService> {
    const own = new WebPushService();
    own.#service = await HttpService.start((request) => own.#take(request));
    return own;
  }

  get host(): string {
    return this.#service.host;
  }

  /** As `PushSubscription.toJSON()`. */
  subscribe(name: string) {
    const keys = createECDH('prime256v1');
    keys.generateKeys();
    const auth = randomBytes(16);
    this.#browsers.set(name, { keys, auth });
    return {
      endpoint: `${this.#service.url}/push/${encodeURIComponent(name)}`,
      expirationTime: null,
      keys: { p256dh: keys.getPublicKey('base64url'), auth: auth.toString('base64url') },
    };
  }

  of(name: string): PushPayload[] {
    return this.received.filter((push) => push.name === name).map(({ payload }) => payload);
  }

  close(): Promise<void> {
    return this.#service.close();
  }

  #take(request: ReceivedRequest): Behaviour {
    const name = decodeURIComponent(request.path.replace('/push/', ''));
    const behaviour = this.behave(name, String(request.headers['topic']));
    if (behaviour !== undefined) return behaviour;
    const browser = this.#browsers.get(name);
    if (browser === undefined) return { status: 410 };
    try {
      const subject = checkVapid(String(request.headers.authorization), this.#service.url);
      if (request.headers['content-encoding'] !== 'aes128gcm') throw new Error('content-encoding');
      const text = decrypt(request.body, browser.keys, browser.auth).toString('utf8');
      this.received.push({
        name,
        payload: JSON.parse(text) as PushPayload,
        ttlSeconds: Number(request.headers['ttl']),
        topic: request.headers['topic'] as string | undefined,
        urgency: request.headers['urgency'] as string | undefined,
        subject,
      });
    } catch (error) {
      this.complaints.push(String(error));
      return { status: 400 };
    }
    return { status: 201, headers: { location: `${this.#service.url}/message/1` } };
  }
}

/** RFC 8292, 3: a JWT of ES256, for this origin, and the key that it is signed with. */
function checkVapid(authorization: string, origin: string): unknown {
  const [, token = '', key = ''] = /^vapid t=([^,\s]+),\s*k=(\S+)$/.exec(authorization) ?? [];
  const point = Buffer.from(key, 'base64url');
  const publicKey = createPublicKey({
    format: 'jwk',
    key: {
      kty: 'EC',
      crv: 'P-256',
      x: point.subarray(1, 33).toString('base64url'),
      y: point.subarray(33).toString('base64url'),
    },
  });
  const claims = jwt.verify(token, publicKey, { algorithms: ['ES256'], audience: origin });
  const { exp = Infinity, sub } = claims as jwt.JwtPayload;
  if (exp > Date.now() / 1000 + 24 * 60 * 60) throw new Error('the token lives too long');
  return sub;
}

/** RFC 8291, 3.4 and RFC 8188, 2: one record, keys from ECDH and the shared secret. */
export function decrypt(body: Buffer, keys: ECDH, auth: Buffer): Buffer {
  const salt = body.subarray(0, 16);
  const keyLength = body.readUInt8(20);
  const senderKey = body.subarray(21, 21 + keyLength);
  const record = body.subarray(21 + keyLength);
  const derive = (secret: Buffer, by: Buffer, info: Buffer | string, length: number) =>
    Buffer.from(hkdfSync('sha256', secret, by, info, length));
  const info = Buffer.concat([Buffer.from('WebPush: info\0'), keys.getPublicKey(), senderKey]);
  const ikm = derive(keys.computeSecret(senderKey), auth, info, 32);
  const key = derive(ikm, salt, 'Content-Encoding: aes128gcm\0', 16);
  const nonce = derive(ikm, salt, 'Content-Encoding: nonce\0', 12);
  const cipher = createDecipheriv('aes-128-gcm', key, nonce);
  cipher.setAuthTag(record.subarray(-16));
  const padded = Buffer.concat([cipher.update(record.subarray(0, -16)), cipher.final()]);
  // The last record's padding begins with 2.
  const end = padded.lastIndexOf(2);
  return padded.subarray(0, end);
}
