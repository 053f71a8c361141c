import rhea, { type Connection, type EventContext } from 'rhea';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { isAtLeast } from '@warren/rabbitmq';
import { startStack, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/** From here on a node speaks it on the port of AMQP 0-9-1, which clients have. */
const NATIVE = [4, 0, 0] as const;

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

/** A client by AMQP 1.0 with a device's token, which consumes a queue. */
class Consumer {
  readonly bodies: string[] = [];
  /** Why it was refused what it asked for. */
  refusal: string | undefined;
  isOpen = true;
  readonly #connection: Connection;

  constructor({ queue, token, vhost }: SessionGrant, consumed = queue) {
    const { hostname, port } = new URL(inject('broker').endpoints.clientAmqpUrl);
    this.#connection = rhea.create_container().connect({
      host: hostname,
      port: Number(port),
      hostname: `vhost:${vhost}`,
      username: queue,
      password: token,
      reconnect: false,
    });
    this.#connection.on('message', ({ message }: EventContext) => {
      const { content } = message?.body as { content: Buffer };
      this.bodies.push(content.toString('utf8'));
    });
    for (const event of ['session_error', 'receiver_error', 'connection_error']) {
      this.#connection.on(event, ({ session, receiver, connection }: EventContext) => {
        const error = receiver?.error ?? session?.error ?? connection.error;
        this.refusal ??= String((error as { condition?: string } | undefined)?.condition);
      });
    }
    // RabbitMQ says twice that it closes one, at which rhea reads no further.
    for (const event of ['connection_close', 'protocol_error', 'disconnected']) {
      this.#connection.on(event, () => {
        this.isOpen = false;
      });
    }
    this.#connection.open_receiver({ source: { address: `/queues/${consumed}` } });
  }

  async receives(data: string): Promise<void> {
    await until(() => this.bodies.some((body) => body.includes(data)));
  }

  close(): void {
    this.#connection.close();
  }
}

describe.runIf(isAtLeast(inject('broker').version, NATIVE))('a client by AMQP 1.0', () => {
  it('is online, and ends when its device is taken over, and when its user is revoked', async () => {
    const user = uniqueUser();
    const first = new Consumer(await stack.session(user, { deviceId: 'phone' }));
    await stack.send({ user }, 'first');
    await first.receives('first');
    await until(async () => {
      const { body } = await stack.api('GET', `/v1/presence?users=${user}`);
      return body.users[0]!.online;
    });
    const second = new Consumer(await stack.session(user, { deviceId: 'phone' }));
    await until(() => !first.isOpen, 'the end of the first');
    await stack.send({ user }, 'second');
    await second.receives('second');
    await stack.api('POST', `/v1/users/${user}/revoke`, {});
    await until(() => !second.isOpen, 'the end of the second');
  });

  it('reads no queue of another device', async () => {
    const own = await stack.session(uniqueUser(), { deviceId: 'phone' });
    const other = await stack.session(uniqueUser(), { deviceId: 'phone' });
    const thief = new Consumer(own, other.queue);
    await until(() => thief.refusal !== undefined);
    expect(thief.refusal).toBe('amqp:unauthorized-access');
    thief.close();
  });

  it('has no more connections than one by another protocol', async () => {
    const grant = await stack.session(uniqueUser(), { deviceId: 'phone' });
    const all = Array.from({ length: 10 }, () => new Consumer(grant));
    await until(() => all.filter(({ isOpen }) => isOpen).length <= 4);
    for (const consumer of all) consumer.close();
  });
});
