import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { Proxy, via } from '../support/proxy.js';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
/** The network that the device was in, and the one that it is in when it wakes. */
let networks: Record<'stomp' | 'amqp', [old: Proxy, next: Proxy]>;
beforeAll(async () => {
  const { endpoints, ports } = inject('broker');
  networks = {
    stomp: [await Proxy.to(ports.stomp), await Proxy.to(ports.stomp)],
    amqp: [await Proxy.to(ports.amqp), await Proxy.to(ports.amqp)],
  };
  stack = await startStack({
    config: {
      endpoints: {
        stomp: networks.stomp.map((proxy) => via(endpoints.stompUrl, proxy)),
        amqp: networks.amqp.map((proxy) => via(endpoints.clientAmqpUrl, proxy)),
      },
    },
  });
});
afterAll(async () => {
  await stack.close();
  await Promise.all(
    Object.values(networks)
      .flat()
      .map((proxy) => proxy.close()),
  );
});

describe.each(['stomp', 'amqp'] as const)(
  'a device that wakes in another network, by %s',
  (name) => {
    it('replaces its dead connection at once, and the broker’s half of it does not hold up messages', async () => {
      const user = uniqueUser();
      let sleptMs = 0;
      let wake: () => void = () => undefined;
      const client = stack.client(user, TRANSPORTS[name](), {
        platform: {
          now: () => Date.now() + sleptMs,
          watch: (listener) => {
            wake = () => listener('change');
            return () => undefined;
          },
        },
      });
      const messages = collect(client);
      client.start();
      await client.ready();
      const [old, next] = networks[name];
      // Both ends think that it is open, and nothing gets through any more.
      old.silence();
      await stack.send({ user }, 'into the void');
      sleptMs = 60_000;
      const wokenAt = performance.now();
      wake();
      await until(() => messages.length === 1);
      // The broker itself would have noticed after two heartbeats.
      process.stdout.write(
        `  ${name}: handled ${(performance.now() - wokenAt).toFixed(0)} ms after waking\n`,
      );
      expect(next.accepted).toBe(1);
      await client.ready();
      await until(() => old.connections === 0, 'the broker to let the old connection go');
    });
  },
);
