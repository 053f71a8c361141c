import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { RawStomp } from '../support/raw-stomp.js';
import {
  request,
  startStack,
  uniqueUser,
  userToken,
  type ApiReply,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

/** As many as one user may ask for in a minute, but for the requests of the test itself. */
const TAKEOVERS = 118;
const CONNECTIONS = 40;

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

/** Connections that consume a device's queue and come back as soon as they are closed. */
class Returning {
  readonly #grant: SessionGrant;
  readonly #loops: Promise<void>[];
  readonly #over: Promise<void>;
  #logins = 0;
  #isOver = false;
  #end!: () => void;

  constructor(grant: SessionGrant) {
    this.#grant = grant;
    this.#over = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#loops = Array.from({ length: CONNECTIONS }, () => this.#comeBack());
  }

  /** How often one of them was let in. */
  get logins(): number {
    return this.#logins;
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    this.#end();
    await Promise.all(this.#loops);
  }

  async #comeBack(): Promise<void> {
    const { queue, token, vhost } = this.#grant;
    const { stompUrl } = inject('broker').endpoints;
    while (!this.#isOver) {
      const stomp = await RawStomp.open(stompUrl).catch(() => undefined);
      if (stomp === undefined) continue;
      if (await stomp.login({ login: queue, passcode: token, host: vhost })) {
        this.#logins++;
        stomp.send('SUBSCRIBE', { destination: `/amq/queue/${queue}`, id: 's', ack: 'client' });
        await Promise.race([stomp.closed, this.#over]);
      }
      await stomp.close();
    }
  }
}

/** Takes a device over again and again, all at once. */
class Takeovers {
  /** Codes of problems, and `granted`. */
  readonly answers: string[] = [];
  readonly #leaving = new AbortController();
  readonly #all: Promise<void>[];

  constructor(user: string) {
    const token = userToken(user);
    this.#all = Array.from({ length: TAKEOVERS }, () => this.#ask(token));
  }

  countOf(answer: string): number {
    return this.answers.filter((one) => one === answer).length;
  }

  async settled(): Promise<void> {
    await Promise.all(this.#all);
  }

  /** Waits for none of the answers that are still to come. */
  async leave(): Promise<void> {
    this.#leaving.abort();
    await this.settled();
  }

  async #ask(token: string): Promise<void> {
    try {
      const response = await fetch(`${stack.apiUrl}/v1/sessions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ deviceId: 'phone' }),
        signal: this.#leaving.signal,
      });
      const { code } = (await response.json()) as { code?: string };
      this.answers.push(response.status === 201 ? 'granted' : (code ?? 'unknown'));
    } catch (error) {
      if (!this.#leaving.signal.aborted) throw error;
    }
  }
}

describe('a user who takes over its own device again and again', () => {
  let returning: Returning;
  let takeovers: Takeovers;
  let user: string;

  const begin = async (): Promise<void> => {
    user = uniqueUser();
    returning = new Returning(await stack.session(user, { deviceId: 'phone' }));
    await until(() => returning.logins >= CONNECTIONS);
    takeovers = new Takeovers(user);
    await until(() => takeovers.answers.length > 0);
  };

  /** How many takeovers the server has granted. */
  const served = async (): Promise<number> => {
    const { values } = await stack.server.warren.metrics.sessions.get();
    return values.find(({ labels }) => labels.kind === 'takeover')?.value ?? 0;
  };

  it('keeps nobody else waiting, and holds nothing when it has gone', async () => {
    await begin();
    for (let index = 0; index < 10; index++) {
      const token = userToken(uniqueUser());
      const { status } = await request(`${stack.apiUrl}/v1/sessions`, 'POST', token, {});
      expect(status).toBe(201);
    }
    // In one queue with them, each of the others would have waited for nearly all.
    expect(takeovers.countOf('granted')).toBeLessThan(TAKEOVERS / 2);
    await takeovers.leave();
    await stack.session(user, { deviceId: 'phone' });
    // Whoever has gone was not served before it.
    expect(await served()).toBeLessThan(TAKEOVERS / 2);
    await returning.stop();
  });

  it('does not keep its revocation waiting, and comes in by none of them afterwards', async () => {
    await begin();
    expect((await stack.api('POST', `/v1/users/${user}/revoke`, {})).status).toBe(204);
    await takeovers.settled();
    await returning.stop();
    expect(takeovers.countOf('token_revoked')).toBeGreaterThan(TAKEOVERS / 2);
    // Of one user, no more than a hundred wait.
    const possible = ['granted', 'token_revoked', 'overloaded'];
    expect(takeovers.answers.filter((answer) => !possible.includes(answer))).toEqual([]);
    expect((await stack.send({ user }, 'x')).body.recipients[0]!.outcome).toBe('unprovisioned');
  });
});

describe('a back end that sends thousands of messages at once', () => {
  const IN_BATCH = 1000;
  const idOf = (user: string, batch: number, index: number) =>
    `${user}-${String(batch)}-${String(index)}`;

  /** Of messages that are tracked, which take longest. */
  const sendBatches = (user: string, count: number) =>
    Array.from({ length: count }, (_, batch) => {
      const messages = Array.from({ length: IN_BATCH }, (_, index) => ({
        id: idOf(user, batch, index),
        to: { user },
        type: 'note',
        data: index,
        track: true,
      }));
      return stack.api('POST', '/v1/messages/batch', { messages });
    });

  const statusesOf = ({ body }: ApiReply): number[] => [
    ...new Set(body.results.map(({ status }) => status)),
  ];

  it('keeps nobody else waiting', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    let answered = 0;
    const batches = sendBatches(user, 4).map(async (batch) => {
      const reply = await batch;
      answered++;
      return reply;
    });
    const path = `/v1/messages/${idOf(user, 0, 0)}`;
    await until(async () => (await stack.api('GET', path)).status === 200);
    for (let index = 0; index < 5; index++) {
      await stack.session(uniqueUser(), { deviceId: 'phone' });
    }
    // In one line with them, each step of a session would have waited for all of them.
    expect(answered).toBe(0);
    for (const reply of await Promise.all(batches)) expect(statusesOf(reply)).toEqual([202]);
  });

  it('is told so when more wait than should, and nothing of those is sent', async () => {
    const user = uniqueUser();
    const replies = await Promise.all(sendBatches(user, 20));
    const refused = replies.flatMap(({ status }, batch) => (status === 503 ? [batch] : []));
    expect(refused.length).toBeGreaterThan(0);
    for (const batch of refused) {
      expect(replies[batch]!.body.code).toBe('overloaded');
      const { status } = await stack.api('GET', `/v1/messages/${idOf(user, batch, 0)}`);
      expect(status).toBe(404);
    }
    const taken = replies.filter(({ status }) => status !== 503);
    expect(taken.length).toBeGreaterThan(0);
    for (const reply of taken) expect(statusesOf(reply)).toEqual([202]);
  }, 180_000);
});
