import type { HistoryReply, OwnDevices, PushDevicesReply } from '@warren/protocol';
import {
  problemOf,
  UnavailableError,
  type Answer,
  type Api,
  type ApiRequest,
  type Reply,
} from './api.js';
import type { Handler } from './dispatcher.js';
import { WarrenError } from './errors.js';
import { hasItems, toParcel, toSearch, type HistoryQuery } from './history.js';
import { decode, type Decode, type Message } from './message.js';
import type { Platform } from './platform/platform.js';
import type { PushRegistration } from './push.js';
import { newId } from './storage.js';
import { delay } from './timing.js';

export interface ClientSendOptions {
  /**
   * Names the message, for who wants to send it again later: it is handled once. 64 printable ASCII
   * characters at most. Default: a new one.
   */
  id?: string;
  /**
   * `queued` (default) waits in the mailbox; `live` reaches only who is connected now; `stored` waits in the
   * mailbox, and the history keeps it.
   */
  delivery?: 'queued' | 'live' | 'stored';
  /** How long it may wait, in milliseconds. Default: as the queue's policy says, 7 days. */
  ttlMs?: number;
  /** Of the messages with one key that wait for a device, the client handles only the newest. Default: none. */
  collapseKey?: string;
}

/** A part of the history. */
export interface HistoryPage<Item = Message> {
  messages: Item[];
  /** For the next page: as `before` when the newest come first, else as `after`. Undefined on the last one. */
  next: string | undefined;
}

export interface CallsOptions {
  api: Api;
  platform: Platform;
  /** Before the second attempt, in milliseconds; it doubles. */
  retryDelayMs: number;
  onError: (error: WarrenError, message: Message) => void;
}

const ATTEMPTS = 3;

const hasDevices = ({ devices }: Answer): boolean => Array.isArray(devices);

type RefusedCode = 'send_refused' | 'history_refused' | 'push_refused' | 'devices_refused';

/** What a client asks of the server beside its session. */
export class Calls {
  readonly #options: CallsOptions;

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  /** @throws {WarrenError} */
  async send(body: ClientSendOptions & { to: object; type: string; data: unknown }) {
    const id = body.id ?? newId(this.#options.platform.random);
    // With the sender before it.
    const gives = (answer: Answer): boolean => String(answer['id']).endsWith(id);
    const reply = await this.#ask('send_refused', 'POST', 'me/messages', gives, { ...body, id });
    return reply.body as { id: string };
  }

  /** @throws {WarrenError} */
  async history(query: HistoryQuery, decodeHook: Decode | undefined): Promise<HistoryPage> {
    const path = `me/history?${toSearch(query)}`;
    const reply = await this.#ask('history_refused', 'GET', path, hasItems);
    const { items, next } = reply.body as HistoryReply;
    const messages = items.map(async (item) => decode(toParcel(item, false), decodeHook));
    return { messages: await Promise.all(messages), next };
  }

  /** @throws {WarrenError} */
  async devices(): Promise<OwnDevices['devices']> {
    const reply = await this.#ask('devices_refused', 'GET', 'me/devices', hasDevices);
    return (reply.body as OwnDevices).devices;
  }

  /** @throws {WarrenError} */
  async removeDevice(deviceId: string): Promise<void> {
    const path = `sessions/${encodeURIComponent(deviceId)}`;
    await this.#ask('devices_refused', 'DELETE', path);
  }

  /** @throws {WarrenError} */
  async pushKey(): Promise<string | undefined> {
    const reply = await this.#ask('push_refused', 'GET', 'me/push-devices', hasDevices);
    return (reply.body as PushDevicesReply).vapidPublicKey;
  }

  /** @throws {WarrenError} */
  async registerPush(deviceId: string, body: PushRegistration): Promise<void> {
    const path = `me/push-devices/${encodeURIComponent(deviceId)}`;
    await this.#ask('push_refused', 'PUT', path, ({ id }) => id === deviceId, body);
  }

  /** @throws {WarrenError} */
  async unregisterPush(deviceId: string): Promise<void> {
    await this.#ask('push_refused', 'DELETE', `me/push-devices/${encodeURIComponent(deviceId)}`);
  }

  async #ask(
    code: RefusedCode,
    method: ApiRequest['method'],
    path: string,
    gives?: ApiRequest['gives'],
    body?: object,
  ): Promise<Reply> {
    const reply = await this.#try({ method, path, body, gives }).catch((cause: unknown) => {
      if (cause instanceof WarrenError) throw cause;
      throw new WarrenError(code, 'It cannot be written as JSON.', { cause });
    });
    if (!reply.ok) throw new WarrenError(code, problemOf(reply).text);
    return reply;
  }

  /** A handler that tells the server what `answerer` makes of a message. Never rejects. */
  answering(answerer: Handler): Handler {
    const { onError } = this.#options;
    return async (message, context) => {
      let body: { reply: unknown } | { failed: true };
      try {
        body = { reply: await answerer(message, context) };
        // What cannot be sent is a failure, too: else whoever has asked would wait in vain.
        JSON.stringify(body);
      } catch (cause) {
        body = { failed: true };
        const why = `The handler of "${message.type}" failed.`;
        onError(new WarrenError('handler_failed', why, { cause }), message);
      }
      try {
        // Whoever has asked may not wait any more; that is no error of anybody's.
        const path = `me/replies/${encodeURIComponent(message.correlationId ?? '')}`;
        await this.#try({ method: 'POST', path, body });
      } catch (error) {
        onError(error as WarrenError, message);
      }
    };
  }

  /** @throws {WarrenError} */
  async #try(request: ApiRequest): Promise<Reply> {
    const { api, platform, retryDelayMs } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt === ATTEMPTS;
      let retryAfterMs: number;
      try {
        return await api.call(request);
      } catch (error) {
        if (isLast || !(error instanceof UnavailableError)) throw error;
        retryAfterMs = error.retryAfterMs;
      }
      const backoffMs = retryDelayMs * 2 ** (attempt - 1) * (0.5 + platform.random() / 2);
      await delay(platform, Math.max(retryAfterMs, backoffMs)).done;
    }
  }
}
