import { generateKeyPairSync } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { z } from 'zod';
import { HttpService, type Behaviour, type ReceivedRequest } from './http-service.js';

const strings = z.record(z.string(), z.string());
/** FCM's own words may not be keys of `data`. */
const data = strings.refine((entries) =>
  Object.keys(entries).every(
    (key) => !/^(from|message_type|collapse_key)$|^(google|gcm)\./.test(key),
  ),
);

/**
 * The parts of `Message` in FCM's REST reference (v1, projects.messages) that are documented; anything else
 * is refused, as FCM does.
 */
const messageSchema = z.strictObject({
  token: z.string(),
  data: data.optional(),
  notification: z
    .strictObject({ title: z.string(), body: z.string(), image: z.string().optional() })
    .optional(),
  android: z
    .strictObject({
      collapse_key: z.string().optional(),
      priority: z.enum(['NORMAL', 'HIGH']).optional(),
      ttl: z
        .string()
        .regex(/^\d+(\.\d{1,9})?s$/)
        .optional(),
      data: data.optional(),
      notification: z
        .strictObject({
          tag: z.string().optional(),
          sound: z.string().optional(),
          icon: z.string().optional(),
          color: z.string().optional(),
          click_action: z.string().optional(),
          channel_id: z.string().optional(),
          notification_count: z.int().optional(),
        })
        .optional(),
    })
    .optional(),
  apns: z
    .strictObject({
      headers: strings
        .refine((headers) => Buffer.byteLength(headers['apns-collapse-id'] ?? '') <= 64)
        .refine((headers) => /^\d+$/.test(headers['apns-expiration'] ?? '0'))
        .optional(),
      payload: z
        .looseObject({
          aps: z.looseObject({ badge: z.int().optional(), sound: z.string().optional() }),
        })
        .optional(),
    })
    .optional(),
});
const requestSchema = z.strictObject({
  message: messageSchema,
  validate_only: z.boolean().optional(),
});
export type FcmMessage = z.infer<typeof messageSchema>;

/** A stand-in of Google's token endpoint and of FCM's HTTP v1 API. */
export class FcmService {
  readonly received: FcmMessage[] = [];
  /** Requests that FCM would refuse; stays empty. */
  readonly complaints: string[] = [];
  /** Asked before a message is taken; undefined takes it. */
  behave: (token: string, message: FcmMessage) => Behaviour | undefined = () => undefined;
  /** How often somebody has logged in. */
  logins = 0;
  readonly #keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
  readonly #accessTokens = new Set<string>();
  #service!: HttpService;

  static async start(): Promise<FcmService> {
    const own = new FcmService();
    own.#service = await HttpService.start((request) => own.#answer(request));
    return own;
  }

  get url(): string {
    return this.#service.url;
  }

  /** The file that Google gives out. */
  get account() {
    return {
      type: 'service_account',
      project_id: 'a-project',
      client_email: 'warren@a-project.iam.gserviceaccount.com',
      private_key: this.#keys.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      token_uri: `${this.url}/token`,
    };
  }

  /** Access tokens that were given out are worth nothing from now on. */
  forgetLogins(): void {
    this.#accessTokens.clear();
  }

  close(): Promise<void> {
    return this.#service.close();
  }

  #answer(request: ReceivedRequest): Behaviour {
    return request.path === '/token' ? this.#logIn(request.body) : this.#take(request);
  }

  #logIn(body: Buffer): Behaviour {
    const form = new URLSearchParams(body.toString('utf8'));
    const claims = jwt.verify(form.get('assertion') ?? '', this.#keys.publicKey, {
      algorithms: ['RS256'],
      audience: 'https://oauth2.googleapis.com/token',
      issuer: this.account.client_email,
    }) as jwt.JwtPayload;
    if (claims['scope'] !== 'https://www.googleapis.com/auth/firebase.messaging') {
      return { status: 400, body: { error: 'invalid_scope' } };
    }
    this.logins++;
    const accessToken = `token-${String(this.logins)}`;
    this.#accessTokens.add(accessToken);
    return {
      status: 200,
      body: { access_token: accessToken, expires_in: 3599, token_type: 'Bearer' },
    };
  }

  #take({ method, path, headers, body }: ReceivedRequest): Behaviour {
    if (method !== 'POST' || path !== '/v1/projects/a-project/messages:send') {
      return fcmError(404, 'NOT_FOUND');
    }
    if (!this.#accessTokens.has(headers.authorization?.replace('Bearer ', '') ?? '')) {
      return fcmError(401, 'UNAUTHENTICATED');
    }
    const parsed = requestSchema.safeParse(JSON.parse(body.toString('utf8')));
    if (!parsed.success) {
      this.complaints.push(z.prettifyError(parsed.error));
      return fcmError(400, 'INVALID_ARGUMENT', 'INVALID_ARGUMENT');
    }
    const { message } = parsed.data;
    const behaviour = this.behave(message.token, message);
    if (behaviour !== undefined) return behaviour;
    this.received.push(message);
    return { status: 200, body: { name: 'projects/a-project/messages/0:1500415314455276' } };
  }
}

/** As FCM's reference shows them. */
export function fcmError(status: number, word: string, errorCode?: string): Behaviour {
  const details =
    errorCode === undefined
      ? []
      : [{ '@type': 'type.googleapis.com/google.firebase.fcm.v1.FcmError', errorCode }];
  return {
    status,
    body: { error: { code: status, message: 'What went wrong.', status: word, details } },
  };
}
