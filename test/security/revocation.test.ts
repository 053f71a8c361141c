import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { CONSUMERS, type RawConsumer } from '../support/liar.js';
import { startStack, uniqueUser, userToken, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

const DEVICES = 100;

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({ config: { maxDevices: DEVICES } });
});
afterAll(() => stack.close());

interface Watched {
  grant: SessionGrant;
  consumer: RawConsumer;
}

/** In milliseconds since the page's start; polled finely, for all at once. */
async function goneAt(consumers: RawConsumer[]): Promise<number[]> {
  const times = consumers.map(() => 0);
  await until(
    () => {
      for (const [index, consumer] of consumers.entries()) {
        if (times[index] === 0 && consumer.isGone()) times[index] = performance.now();
      }
      return times.every((time) => time > 0);
    },
    () => `${String(times.filter((time) => time === 0).length)} are still there`,
  );
  return times;
}

function told(name: string, times: number[]): void {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.ceil(share * sorted.length) - 1]!.toFixed(0);
  process.stdout.write(
    `  revoked ${String(times.length)} devices ${name}: consumer gone after ${at(0.5)} ms (median), ${at(1)} ms (slowest)\n`,
  );
}

async function consumeAll(
  user: string,
  name: keyof typeof CONSUMERS,
  lie = {},
): Promise<Watched[]> {
  const all: Watched[] = [];
  for (let index = 0; index < DEVICES; index++) {
    const grant = await stack.session(user, { deviceId: `d${String(index)}` });
    all.push({ grant, consumer: await CONSUMERS[name](grant, lie) });
  }
  return all;
}

/** Publishes all the time; every message tells whether the revocation had been answered by then. */
class Publishing {
  #phase: 'before' | 'after' = 'before';
  #isOver = false;
  readonly #ended: Promise<void>;

  constructor(user: string) {
    this.#ended = this.#run(user);
  }

  answer(): void {
    this.#phase = 'after';
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#ended;
  }

  async #run(user: string): Promise<void> {
    while (!this.#isOver) {
      await stack.send({ user }, this.#phase);
      await stack.send({ user }, this.#phase, { delivery: 'live' });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function measure(
  user: string,
  watched: Watched[],
  revoke: (index: number) => Promise<number>,
): Promise<number[]> {
  const publishing = new Publishing(user);
  await until(() =>
    watched.some(({ consumer }) => consumer.bodies.length > 0 || consumer.isGone()),
  );
  const times: number[] = [];
  const gone = goneAt(watched.map(({ consumer }) => consumer));
  const asked = await Promise.all(
    watched.map(async (_, index) => {
      const begun = performance.now();
      expect(await revoke(index)).toBe(204);
      return begun;
    }),
  );
  publishing.answer();
  for (const [index, time] of (await gone).entries()) times.push(time - asked[index]!);
  for (let round = 0; round < 20; round++) await stack.send({ user }, 'after');
  await publishing.stop();
  for (const { consumer } of watched) {
    expect(consumer.bodies).not.toContain('"after"');
    await consumer.close();
  }
  // The tokens that they have open nothing, by neither protocol.
  for (const { grant } of watched.slice(0, 5)) {
    for (const consume of Object.values(CONSUMERS)) {
      const late = await consume(grant).catch(() => undefined);
      if (late !== undefined) {
        await until(late.isGone);
        expect(late.bodies).toEqual([]);
        await late.close();
      }
    }
  }
  return times;
}

describe('revocation', () => {
  it.each([
    ['stomp', 'by STOMP', {}],
    ['amqp', 'by AMQP', {}],
    ['amqp', 'by AMQP under a false name', { login: 'mallory' }],
  ] as const)('one by one, while messages are published, %s %s', async (name, text, lie) => {
    const user = uniqueUser();
    const watched = await consumeAll(user, name, lie);
    const times = await measure(user, watched, async (index) => {
      const body = { deviceId: `d${String(index)}` };
      return (await stack.api('POST', `/v1/users/${user}/revoke`, body)).status;
    });
    told(text, times);
    expect((await stack.send({ user }, 'x')).body.recipients[0]!.outcome).toBe('unprovisioned');
  });

  it('of liars by STOMP that logged in while no server looked', async () => {
    const user = uniqueUser();
    const { dataDir } = stack;
    const grants: SessionGrant[] = [];
    for (let index = 0; index < DEVICES; index++) {
      grants.push(await stack.session(user, { deviceId: `d${String(index)}` }));
    }
    await stack.server.close();
    const watched: Watched[] = [];
    for (const [index, grant] of grants.entries()) {
      const login = ['mallory', 'warren-backend', grants[0]!.queue][index % 3]!;
      watched.push({ grant, consumer: await CONSUMERS.stomp(grant, { login }) });
    }
    stack = await startStack({ config: { maxDevices: DEVICES, dataDir } });
    const answer = stack.api('POST', `/v1/users/${user}/revoke`, {});
    const times = await measure(user, watched, async () => (await answer).status);
    told('at once, by STOMP under false names', times);
    const reply = await fetch(`${stack.apiUrl}/v1/sessions`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${userToken(user, { iat: Math.floor(Date.now() / 1000) - 60 })}`,
        'content-type': 'application/json',
      },
      body: '{}',
    });
    expect(reply.status).toBe(401);
  });
});
