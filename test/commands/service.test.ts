import { connect } from 'amqplib';
import { describe, expect, inject, it } from 'vitest';
import { Program } from '../support/program.js';
import { until } from '../support/until.js';

async function warren(args: string[]) {
  const { amqpUrl, managementUrl } = inject('broker').endpoints;
  const program = new Program(process.execPath, ['server/bin/warren.js', ...args], {
    WARREN_AMQP_URL: amqpUrl,
    WARREN_MANAGEMENT_URL: managementUrl,
  });
  return { code: await program.exited, output: program.output };
}

describe('warren service', () => {
  it('adds an account that may publish and have its own events, and removes it', async () => {
    const added = await warren(['service', 'add', 'billing']);
    expect(added.code).toBe(0);
    const model = await connect(added.output.trim());
    model.on('error', () => undefined);
    let closed = false;
    model.on('close', () => (closed = true));
    const channel = await model.createConfirmChannel();
    channel.publish('warren.direct', 'user.x', Buffer.from('x'));
    await channel.waitForConfirms();
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
    await until(() => closed);
    await expect(connect(added.output.trim())).rejects.toThrow();
  });

  it.each(['a.b', '', '../x', 'x'.repeat(61), 'ü'])('refuses the name %j', async (name) => {
    expect((await warren(['service', 'add', name])).code).toBe(1);
  });

  it('does not remove accounts of another kind', async () => {
    expect((await warren(['service', 'remove', 'warren-server'])).code).toBe(1);
    expect((await warren(['service', 'remove', 'nobody'])).code).toBe(1);
  });
});
