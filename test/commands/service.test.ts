import { connect } from 'amqplib';
import { describe, expect, inject, it } from 'vitest';
import { isAtLeast } from '@warren/rabbitmq';
import { NATIVE, Publisher } from '../support/amqp-1-0.js';
import { Program } from '../support/program.js';
import { until } from '../support/until.js';
import { survivesHeaders } from '../support/broker-faults.js';

async function warren(args: string[]) {
  const { amqpUrl, managementUrl } = inject('broker').endpoints;
  const program = new Program(process.execPath, ['server/bin/warren.js', ...args], {
    WARREN_AMQP_URL: amqpUrl,
    WARREN_MANAGEMENT_URL: managementUrl,
  });
  return { code: await program.exited, output: program.output };
}

/** What the management API answers; of a list, what the vhost has. */
async function managed(path: string, method = 'GET'): Promise<unknown> {
  const { origin, username, password } = new URL(inject('broker').endpoints.managementUrl);
  const suffix = method === 'GET' ? '/warren' : '';
  const response = await fetch(`${origin}/api/${path}${suffix}`, {
    method,
    headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
  });
  return method === 'GET' ? response.json() : response.text();
}

/** What a script reads of the output: the account's address. */
const addressIn = (output: string): string => /^amqps?:\S+$/m.exec(output)![0];

/** A connection of an account that was added, which says when the broker has closed it. */
async function connectAs(address: string) {
  const model = await connect(address);
  model.on('error', () => undefined);
  let isClosed = false;
  model.on('close', () => (isClosed = true));
  /** Undefined, or why it is refused. */
  const publish = async (exchange: string): Promise<string | undefined> => {
    const channel = await model.createConfirmChannel();
    let refusal: string | undefined;
    channel.on('error', (error: Error) => (refusal = error.message));
    channel.publish(exchange, 'user.x', Buffer.from('{}'));
    await channel.waitForConfirms().catch(() => undefined);
    return refusal;
  };
  return { model, publish, isClosed: () => isClosed };
}

describe('warren service', () => {
  it('adds an account that may publish and have its own events, and removes it', async () => {
    const added = await warren(['service', 'add', 'billing', '--direct']);
    expect(added.code).toBe(0);
    const { model, publish, isClosed } = await connectAs(addressIn(added.output));
    expect(await publish('warren.direct')).toBeUndefined();
    expect(await publish('warren.send')).toBeUndefined();
    const channel = await model.createChannel();
    await channel.assertQueue('warren.events.billing', { durable: true });
    await channel.deleteQueue('warren.events.billing');
    for (const name of ['warren.events.other', 'user.x.y.z']) {
      const other = await model.createChannel();
      other.on('error', () => undefined);
      await expect(other.assertQueue(name)).rejects.toThrow(/ACCESS/);
    }
    const again = await warren(['service', 'add', 'billing']);
    expect(again.code).toBe(1);
    expect(again.output).toContain('billing-2');
    const removed = await warren(['service', 'remove', 'billing']);
    expect([removed.code, removed.output]).toEqual([0, 'billing is removed.\n']);
    await until(isClosed);
    await expect(connect(addressIn(added.output))).rejects.toThrow();
  });

  it.runIf(isAtLeast(inject('broker').version, NATIVE))(
    'ends the connections by AMQP 1.0 of an account that it removes',
    async () => {
      const added = await warren(['service', 'add', 'modern']);
      const publisher = await new Publisher(addressIn(added.output)).opened();
      await warren(['service', 'remove', 'modern']);
      await until(() => !publisher.isOpen);
    },
  );

  it('removes with an account what it has made, so that nothing of it grows or leads anywhere', async () => {
    const added = await warren(['service', 'add', 'leaver']);
    await warren(['service', 'add', 'leaver-2']);
    const { model, isClosed } = await connectAs(addressIn(added.output));
    const channel = await model.createChannel();
    const queues = ['warren.events.leaver', 'warren.replies.leaver.1'];
    for (const queue of queues) await channel.assertQueue(queue, { durable: true });
    await channel.assertQueue('warren.replies.leaver.own', { exclusive: true });
    await channel.bindQueue('warren.events.leaver', 'warren.events', '#');
    await channel.assertExchange('warren.replies.leaver.exchange', 'fanout', { durable: true });
    await channel.bindExchange('warren.send', 'warren.events', 'nothing.#');
    const removed = await warren(['service', 'remove', 'leaver']);
    expect([removed.code, removed.output]).toEqual([0, 'leaver is removed.\n']);
    await until(isClosed);
    const left = async (kind: string): Promise<string> =>
      JSON.stringify(await managed(kind)).replaceAll('leaver-2', '');
    for (const kind of ['queues', 'exchanges']) expect(await left(kind)).not.toContain('leaver');
    expect(await left('bindings')).not.toContain('nothing.#');
    expect((await warren(['service', 'remove', 'leaver'])).code).toBe(1);
    expect((await warren(['service', 'remove', 'leaver-2'])).code).toBe(0);
  });

  it('removes what a removal that was broken off has left', async () => {
    const added = await warren(['service', 'add', 'halfway']);
    const { model } = await connectAs(addressIn(added.output));
    const channel = await model.createChannel();
    await channel.assertQueue('warren.events.halfway', { durable: true });
    await model.close();
    await managed('users/halfway', 'DELETE');
    expect((await warren(['service', 'remove', 'halfway'])).code).toBe(0);
    expect(JSON.stringify(await managed('queues'))).not.toContain('halfway');
  });

  it('lets an account publish straight to mailboxes only where that cannot crash them', async () => {
    const isSafe = await survivesHeaders();
    const added = await warren(['service', 'add', 'orders']);
    const { model, publish } = await connectAs(addressIn(added.output));
    expect(await publish('warren.send')).toBeUndefined();
    const refusal = await publish('warren.direct');
    if (isSafe) expect(refusal).toBeUndefined();
    else expect(refusal).toMatch(/ACCESS/);
    expect(added.output.includes('--direct')).toBe(!isSafe);
    await model.close();
    expect((await warren(['service', 'remove', 'orders'])).code).toBe(0);
  });

  it('warns of an account that may all the same', async () => {
    const { output } = await warren(['service', 'add', 'daring', '--direct']);
    expect(output.includes('give it to programs that you trust')).toBe(!(await survivesHeaders()));
    await warren(['service', 'remove', 'daring']);
  });

  it.each(['a.b', '', '../x', 'x'.repeat(61), 'ü'])('refuses the name %j', async (name) => {
    expect((await warren(['service', 'add', name])).code).toBe(1);
  });

  it('does not remove accounts of another kind', async () => {
    expect((await warren(['service', 'remove', 'warren-server'])).code).toBe(1);
    expect((await warren(['service', 'remove', 'nobody'])).code).toBe(1);
  });
});
