import { createHash } from 'node:crypto';
import { JWT } from 'google-auth-library';
import { z } from 'zod';
import { post, type Answer } from '../../outbound/post.js';
import {
  PROVIDER_TIMEOUT_MS,
  resultOf,
  type OutgoingPush,
  type PushProvider,
  type PushResult,
} from './provider.js';

/** What of a service account's file is needed; the rest is left alone. */
export const serviceAccountSchema = z.object({
  project_id: z.string().min(1),
  client_email: z.string().min(1),
  private_key: z.string().min(1),
  token_uri: z.url().default('https://oauth2.googleapis.com/token'),
});
export type ServiceAccount = z.infer<typeof serviceAccountSchema>;

export interface FcmOptions {
  account: ServiceAccount;
  /** Where FCM is. */
  url: string;
}

export const DEFAULT_FCM_URL = 'https://fcm.googleapis.com';
const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging';
/** FCM asks for a minute when its quota is used up and it says nothing of when to come back. */
const QUOTA_MS = 60_000;

/** Android and iOS, by Firebase Cloud Messaging's HTTP v1 API. */
export class FcmProvider implements PushProvider {
  readonly name = 'fcm';
  readonly batchSize = 1;
  readonly #url: string;
  readonly #login: JWT;

  constructor({ account, url }: FcmOptions) {
    this.#url = `${url}/v1/projects/${encodeURIComponent(account.project_id)}/messages:send`;
    this.#login = new JWT({
      email: account.client_email,
      key: account.private_key,
      scopes: [SCOPE],
      transporterOptions: { timeout: PROVIDER_TIMEOUT_MS },
    });
    // The library asks Google, whatever the account's file says.
    this.#login.transporter.interceptors.request.add({
      resolved: (request) => {
        request.url = new URL(account.token_uri);
        return Promise.resolve(request);
      },
    });
  }

  /** Its tokens have no form that could be looked at. */
  check(): undefined {
    return undefined;
  }

  send(pushes: OutgoingPush[]): Promise<PushResult[]> {
    return Promise.all(pushes.map((push) => this.#send(push)));
  }

  async #send(push: OutgoingPush): Promise<PushResult> {
    let token: string | null | undefined;
    try {
      ({ token } = await this.#login.getAccessToken());
    } catch {
      return { kind: 'failed', reason: 'unauthorized', detail: 'Google gave no access token' };
    }
    if (token == null) return { kind: 'failed', reason: 'unauthorized' };
    const answer = await post(this.#url, {
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ message: messageOf(push) }),
      timeoutMs: PROVIDER_TIMEOUT_MS,
    });
    if (typeof answer === 'string') return resultOf(answer);
    // Perhaps revoked before its time: the next attempt gets another one.
    if (answer.status === 401) this.#login.setCredentials({});
    return toResult(answer);
  }
}

/**
 * A message of FCM's HTTP v1 API. What Warren knows of it is in `data`, whose values are text and whose keys
 * must not be FCM's own words.
 */
function messageOf({ token, payload, replaces, expiresAt }: OutgoingPush): object {
  const { id, type, user, title, body, tag, data, badge, sound } = payload;
  const ttlSeconds = Math.max(0, Math.ceil((expiresAt - Date.now()) / 1000));
  return {
    token,
    notification: { title, body },
    data: {
      warrenId: id,
      warrenType: type,
      warrenUser: user,
      ...(data !== undefined && { warrenData: JSON.stringify(data) }),
    },
    android: {
      priority: 'HIGH',
      ttl: `${String(ttlSeconds)}s`,
      // FCM keeps messages of four keys for a device, so that each its own would lose some.
      ...(replaces && { collapse_key: tag }),
      notification: {
        tag,
        ...(sound !== undefined && { sound }),
        ...(badge !== undefined && { notification_count: badge }),
      },
    },
    apns: {
      headers: {
        'apns-priority': '10',
        'apns-expiration': String(Math.ceil(expiresAt / 1000)),
        'apns-collapse-id': collapseIdOf(tag),
      },
      payload: {
        aps: { ...(badge !== undefined && { badge }), ...(sound !== undefined && { sound }) },
      },
    },
  };
}

/** APNs takes 64 bytes. */
const collapseIdOf = (tag: string): string =>
  Buffer.byteLength(tag, 'utf8') <= 64
    ? tag
    : createHash('sha256').update(tag, 'utf8').digest('base64url');

const replySchema = z.object({ name: z.string().min(1) });
const errorSchema = z.object({
  error: z.object({
    status: z.string().optional(),
    details: z
      .array(
        z.looseObject({
          errorCode: z.string().optional(),
          fieldViolations: z.array(z.looseObject({ field: z.string().optional() })).optional(),
        }),
      )
      .optional(),
  }),
});

function toResult(answer: Answer): PushResult {
  const body = readJson(answer.text);
  if (answer.status === 200) {
    // Whatever stands in between and answers 200 has not delivered anything.
    if (replySchema.safeParse(body).success) return { kind: 'sent' };
    return { kind: 'failed', reason: 'garbled', detail: 'it answered 200 with something else' };
  }
  const details = errorSchema.safeParse(body).data?.error.details ?? [];
  const code = details.find(({ errorCode }) => errorCode !== undefined)?.errorCode;
  const isTokenWrong = details.some(({ fieldViolations = [] }) =>
    fieldViolations.some(({ field }) => field === 'message.token'),
  );
  // Of another project, or none at all: it will never be good here.
  if (code === 'UNREGISTERED' || code === 'SENDER_ID_MISMATCH' || isTokenWrong) {
    return { kind: 'unregistered' };
  }
  const detail = code ?? `it answered ${String(answer.status)}`;
  // Its credentials, its permissions or those for APNs, or the project: somebody will mend them.
  if (answer.status === 401 || answer.status === 403) {
    return { kind: 'failed', reason: 'unauthorized', detail };
  }
  if (answer.status === 404) return { kind: 'failed', reason: 'provider_error', detail };
  const result = resultOf(answer);
  if (answer.status === 429 && result.kind === 'failed') {
    return { ...result, retryAfterMs: answer.retryAfterMs ?? QUOTA_MS };
  }
  // 2xx, but not the one that FCM answers with.
  if (result.kind === 'sent') return { kind: 'failed', reason: 'garbled', detail };
  return result.kind === 'unregistered' ? result : { ...result, detail };
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
