import { UnavailableError, type Api, type Reply } from './api.js';
import type { Handler } from './dispatcher.js';
import { WarrenError } from './errors.js';
import type { Message } from './message.js';
import type { Platform } from './platform/platform.js';
import { newId } from './storage.js';
import { delay } from './timing.js';

export interface ClientSendOptions {
  /**
   * Names the message, for who wants to send it again later: it is handled once. 64 printable ASCII
   * characters at most. Default: a new one.
   */
  id?: string;
  /** `queued` (default) waits in the mailbox; `live` reaches only who is connected now. */
  delivery?: 'queued' | 'live';
  /** How long it may wait, in milliseconds. Default: as the queue's policy says, 7 days. */
  ttlMs?: number;
  /** Of the messages with one key that wait for a device, the client handles only the newest. Default: none. */
  collapseKey?: string;
}

export interface CallsOptions {
  api: Api;
  platform: Platform;
  /** Before the second attempt, in milliseconds; it doubles. */
  retryDelayMs: number;
  onError: (error: WarrenError, message: Message) => void;
}

const ATTEMPTS = 3;

/** What a client asks of the server beside its session. */
export class Calls {
  readonly #options: CallsOptions;

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  /** @throws {WarrenError} */
  async send(body: ClientSendOptions & { to: object; type: string; data: unknown }) {
    const id = body.id ?? newId(this.#options.platform.random);
    const reply = await this.#try('me/messages', { ...body, id });
    if (!reply.ok) throw refused(reply);
    return reply.body as { id: string };
  }

  /** A handler that tells the server what `answerer` makes of a message. Never rejects. */
  answering(answerer: Handler): Handler {
    const { onError } = this.#options;
    return async (message, context) => {
      let body: { reply: unknown } | { failed: true };
      try {
        body = { reply: await answerer(message, context) };
      } catch (cause) {
        body = { failed: true };
        const why = `The answerer of "${message.type}" failed.`;
        onError(new WarrenError('handler_failed', why, { cause }), message);
      }
      try {
        // Whoever has asked may not wait any more; that is no error of anybody's.
        await this.#try(`me/replies/${encodeURIComponent(message.correlationId ?? '')}`, body);
      } catch (error) {
        onError(error as WarrenError, message);
      }
    };
  }

  /** @returns an answer that another attempt would not change. @throws {WarrenError} */
  async #try(path: string, body: object): Promise<Reply> {
    const { api, platform, retryDelayMs } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt === ATTEMPTS;
      let retryAfterMs = 0;
      try {
        const reply = await api.call({ method: 'POST', path, body });
        if (reply.status !== 429 && reply.status < 500) return reply;
        if (isLast) throw new UnavailableError('api_unavailable', textOf(reply));
        retryAfterMs = Number(reply.retryAfter ?? 0) * 1000;
      } catch (error) {
        if (isLast || !(error instanceof UnavailableError)) throw error;
      }
      const backoffMs = retryDelayMs * 2 ** (attempt - 1) * (0.5 + platform.random() / 2);
      await delay(platform, Math.max(retryAfterMs, backoffMs)).done;
    }
  }
}

const textOf = ({ status, body }: Reply): string => {
  const { title = 'no explanation', code = '' } = Object(body) as { title?: string; code?: string };
  return `The server answered ${String(status)} ${code}: ${title}`;
};

const refused = (reply: Reply): WarrenError => new WarrenError('send_refused', textOf(reply));
