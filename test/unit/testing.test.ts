import { describe, expect, it, onTestFinished } from 'vitest';
import { getClient } from '@warren/client';
import { settle, TestBed } from '@warren/client/testing';
import { PublishError } from '@warren/server/publisher';
import { TestPublisher, type PublisherLike } from '@warren/server/testing';

interface Events {
  'order.shipped': { orderId: number };
  progress: { percent: number };
}

/** An application, as its own tests see it: a server's half and a client's half. */
const shop = (publisher: PublisherLike<Events>) => ({
  ship: (user: string, orderId: number) => publisher.toUser(user, 'order.shipped', { orderId }),
});

function setup() {
  const bed = new TestBed({ userId: 'alice' });
  const publisher = new TestPublisher<Events>({ devices: [bed] });
  const client = getClient<Events>({ ...bed.options, background: 'disconnect' });
  const shown: number[] = [];
  client.handle('order.shipped', ({ data }) => {
    shown.push(data.orderId);
  });
  onTestFinished(() => client.stop());
  return { bed, publisher, client, shown };
}

describe('an application tested without a broker', () => {
  it('sends by a publisher that is linked to a client, through sleep and waking', async () => {
    const { bed, publisher, client, shown } = setup();
    client.start();
    await settle();
    expect(await shop(publisher).ship('alice', 1)).toMatchObject({ outcome: 'queued' });
    await settle();
    expect(shown).toEqual([1]);
    bed.app.hide();
    await settle();
    await shop(publisher).ship('alice', 2);
    await settle();
    expect([shown, bed.broker.depth]).toEqual([[1], 1]);
    bed.app.show();
    await settle();
    expect(shown).toEqual([1, 2]);
    expect(publisher.sent).toMatchObject([
      { to: { user: 'alice' }, type: 'order.shipped', data: { orderId: 1 }, outcome: 'queued' },
      { to: { user: 'alice' }, type: 'order.shipped', data: { orderId: 2 }, outcome: 'queued' },
    ]);
    expect(await Promise.all(publisher.sent.map(({ endings }) => endings))).toEqual([
      ['acked'],
      ['acked'],
    ]);
  });

  it('sees who is not there, and live messages that reach nobody', async () => {
    const { publisher, client } = setup();
    expect(await shop(publisher).ship('bob', 1)).toMatchObject({ outcome: 'unprovisioned' });
    const address = { user: 'alice', device: client.deviceId };
    const live = { delivery: 'live' } as const;
    await publisher.toDevice(address, 'progress', { percent: 1 }, live);
    expect(await publisher.sent.at(-1)!.endings).toEqual(['offline']);
    expect(
      await publisher.toDevice({ ...address, device: 'other' }, 'progress', { percent: 1 }, live),
    ).toMatchObject({
      outcome: 'offline',
    });
  });

  it('is refused what the real publisher refuses, and fails when the test says so', async () => {
    const { publisher } = setup();
    await expect(
      publisher.toUser('alice', 'bad\ntype' as 'progress', { percent: 1 }),
    ).rejects.toThrow(RangeError);
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    await expect(publisher.toUser('alice', 'progress', circular as never)).rejects.toMatchObject({
      code: 'payload_not_serializable',
    });
    publisher.failNext('broker_unavailable', 'outcome_unknown');
    await expect(shop(publisher).ship('alice', 1)).rejects.toThrow(PublishError);
    expect(publisher.sent).toHaveLength(0);
    await expect(shop(publisher).ship('alice', 2)).rejects.toMatchObject({
      code: 'outcome_unknown',
    });
    // It may arrive all the same, and here it does.
    expect(publisher.sent).toHaveLength(1);
    await publisher.close();
    await expect(shop(publisher).ship('alice', 3)).rejects.toMatchObject({
      code: 'publisher_closed',
    });
  });

  it('gets each message once, however often it is sent, and again what was not acked', async () => {
    const { bed, publisher, client, shown } = setup();
    client.start();
    await settle();
    for (let time = 0; time < 3; time++) {
      await publisher.toUser('alice', 'order.shipped', { orderId: 7 }, { id: 'same' });
    }
    await settle();
    expect(shown).toEqual([7]);
    bed.broker.connection.break('lost');
    await bed.clock.advance(1000);
    expect(client.getSnapshot().state).toBe('connected');
  });

  it('is told when a test asks for a connection that nobody has made', () => {
    expect(() => new TestBed().broker.connection).toThrow('Nobody has connected yet.');
  });
});
