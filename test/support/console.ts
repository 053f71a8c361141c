import WebSocket from 'ws';
import { getClient, stomp, type Client } from '@warren/client';
import type { FeedBody, SessionGrant, Stats, Trace, WarrenEvent } from '@warren/protocol';
import { ADMIN_KEY, type Stack } from './stack.js';
import { until } from './until.js';

type Heard = WarrenEvent | ({ event: 'trace'; at: string } & Trace);

/** A console as its pages are one: the SDK, by Web-STOMP, on the queues of an admin's session. */
export class ConsoleClient {
  readonly stats: Stats[] = [];
  readonly events: Heard[] = [];
  grant: SessionGrant | undefined;
  readonly #stack: Stack;
  readonly #client: Client;

  private constructor(stack: Stack, actor: string, key: string) {
    this.#stack = stack;
    this.#client = getClient({
      apiUrl: stack.apiUrl,
      userId: actor,
      deviceId: `console-${String(++count)}`,
      getToken: () => key,
      dedupe: 'memory',
      transport: stomp({
        createWebSocket: (url, protocols) =>
          new WebSocket(url, protocols) as unknown as globalThis.WebSocket,
      }),
      platform: {
        fetch: async (input, init) => {
          const url = (input as string).replace('/v1/sessions', '/v1/admin/sessions');
          const response = await fetch(url, init);
          if (response.ok) this.grant = (await response.clone().json()) as SessionGrant;
          return response;
        },
      },
    });
    this.#client.handle('*', ({ type, data }) => {
      if (type === 'stats') this.stats.push(data as Stats);
      else this.events.push(data as Heard);
    });
  }

  static async open(stack: Stack, key = ADMIN_KEY): Promise<ConsoleClient> {
    const { body } = await stack.admin('POST', 'tokens', undefined, key);
    const console = new ConsoleClient(stack, body.actor, key);
    console.#client.start();
    await console.#client.ready();
    return console;
  }

  async feed(feed: Partial<FeedBody>, key = ADMIN_KEY): Promise<number> {
    const path = `sessions/${this.grant?.sessionId ?? ''}/feed`;
    const { status } = await this.#stack.admin('PUT', path, feed, key);
    return status;
  }

  traces(user: string, step: Trace['step']): Trace[] {
    return this.events.filter(
      (event): event is Extract<Heard, { event: 'trace' }> =>
        event.event === 'trace' && event.user === user && event.step === step,
    );
  }

  async untilTraced(user: string, step: Trace['step'], messageId: string): Promise<Trace> {
    const find = () => this.traces(user, step).find((trace) => trace.messageId === messageId);
    await until(
      () => find() !== undefined,
      () => `${step} of ${messageId}: ${JSON.stringify(this.events)}`,
    );
    return find()!;
  }

  async close(): Promise<void> {
    await this.#client.stop();
    if (this.grant !== undefined) {
      await this.#stack.admin('DELETE', `sessions/${this.grant.sessionId}`);
    }
  }
}

let count = 0;
