import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { Client } from '@warren/client';
import { PublishError } from '@warren/server/publisher';
import { Proxy, via } from '../support/proxy.js';
import { startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

const MESSAGES = 10_000;
const CUTS = 5;

let stack: Stack;
/** Between each client and the broker, and between the server and the broker. */
let proxies: { stomp: Proxy; amqp: Proxy; server: Proxy };
beforeAll(async () => {
  const { endpoints, ports } = inject('broker');
  proxies = {
    stomp: await Proxy.to(ports.stomp),
    amqp: await Proxy.to(ports.amqp),
    server: await Proxy.to(ports.amqp),
  };
  stack = await startStack({
    config: {
      amqpUrl: via(endpoints.amqpUrl, proxies.server),
      endpoints: {
        stomp: [via(endpoints.stompUrl, proxies.stomp)],
        amqp: [via(endpoints.clientAmqpUrl, proxies.amqp)],
      },
    },
  });
});
afterAll(async () => {
  await stack.close();
  await Promise.all(Object.values(proxies).map((proxy) => proxy.close()));
});

/** A client that writes down what its handler gets, number by number. */
async function receiver(user: string, name: 'stomp' | 'amqp') {
  const client: Client = stack.client(user, TRANSPORTS[name]());
  const seen: number[] = [];
  let connects = 0;
  client.on('state', ({ current }) => {
    if (current === 'connected') connects++;
  });
  client.handle('number', ({ data }) => {
    seen.push(data as number);
  });
  client.start();
  await client.ready();
  return { seen, connects: () => connects, isUp: () => client.getSnapshot().state === 'connected' };
}

describe(`${String(MESSAGES)} messages to one user over networks that are cut`, () => {
  it('are each handled exactly once and in order, by each transport', async () => {
    const user = uniqueUser();
    const receivers = { stomp: await receiver(user, 'stomp'), amqp: await receiver(user, 'amqp') };
    const { publisher } = stack.server.warren;
    const tally = { unknown: 0, unavailable: 0 };

    // As an application would: what was not confirmed is sent again with the same id.
    const send = async (number: number): Promise<void> => {
      for (;;) {
        try {
          await publisher.toUser(user, 'number', number, {
            id: `${user}-${String(number)}`,
          });
          return;
        } catch (error) {
          if (!(error instanceof PublishError)) throw error;
          if (error.code === 'outcome_unknown') tally.unknown++;
          else tally.unavailable++;
        }
      }
    };
    const between = Math.floor(MESSAGES / (CUTS + 1));
    const networks = [
      { proxy: proxies.stomp, isUp: receivers.stomp.isUp },
      { proxy: proxies.amqp, isUp: receivers.amqp.isUp },
      { proxy: proxies.server, isUp: () => publisher.state === 'ready' },
    ];
    const cutAt = new Map<number, (typeof networks)[number]>();
    networks.forEach((network, index) => {
      for (let cut = 1; cut <= CUTS; cut++) cutAt.set(cut * between + index * 301, network);
    });
    for (let number = 0; number < MESSAGES; number++) {
      const network = cutAt.get(number);
      // A cable that is pulled twice before anybody is back is pulled once.
      if (network !== undefined) await until(network.isUp, 'the end of the last cut');
      const sending = send(number);
      // While the message is on its way.
      network?.proxy.cut();
      await sending;
    }

    for (const [name, { seen }] of Object.entries(receivers)) {
      await until(
        () => seen.length >= MESSAGES,
        () => `${name} handled ${String(seen.length)}`,
        60_000,
      );
    }
    // Whatever would come twice would come before this.
    await send(MESSAGES);
    for (const [name, { seen, connects }] of Object.entries(receivers)) {
      await until(() => seen.at(-1) === MESSAGES, `the last message by ${name}`);
      expect(seen).toEqual(Array.from({ length: MESSAGES + 1 }, (_, index) => index));
      expect(connects(), `connects of ${name}`).toBe(CUTS + 1);
    }
    expect(tally.unknown + tally.unavailable).toBeGreaterThan(0);
    process.stdout.write(
      `  ${String(MESSAGES)} messages, ${String(CUTS)} cuts of each of three networks: ` +
        `${String(tally.unknown)} sends of unknown outcome sent again, ${String(tally.unavailable)} refused; ` +
        '0 lost, 0 doubled, 0 out of order by each transport\n',
    );
  }, 240_000);
});
