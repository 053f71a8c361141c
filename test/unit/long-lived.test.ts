import { queryObjects } from 'node:v8';
import { WaitingRoom } from '../../server/dist/waiting-room.js';
import { describe, expect, it } from 'vitest';
import { setupBed } from '../support/bed.js';

const HOUR_MS = 3_600_000;
/** What a test runner and a client that is at rest come and go with. */
const NOISE = 200;

/** How many promises are alive, after the garbage is gone. */
const promises = (): number => queryObjects(Promise, { format: 'count' });

describe('a connection that lasts for a day', () => {
  it('leaves nothing behind by the hour', async () => {
    const { bed, broker, client, clock, state } = setupBed();
    // By AMQP: a token is exchanged, and the connection goes on.
    client.handle('note', () => undefined);
    const connect = broker.connect.bind(broker);
    broker.connect = async (options) =>
      Object.assign(await connect(options), { updateToken: () => Promise.resolve() });
    client.start();
    await clock.advance(HOUR_MS);
    const before = promises();
    await clock.advance(23 * HOUR_MS);
    expect(promises() - before).toBeLessThan(NOISE);
    expect([state(), broker.connections.length]).toEqual(['connected', 1]);
    expect(bed.requests.length).toBeGreaterThan(24);
  });
});

describe('a room in which many wait for what does not come', () => {
  it('forgets who has given up, and lets in who still waits', async () => {
    const room = new WaitingRoom();
    const gaveUp = await Promise.all([room.within(1), room.within(1)]);
    expect([gaveUp, room.size]).toEqual([[false, false], 0]);
    const waiting = room.within(60_000);
    expect(room.size).toBe(1);
    room.open();
    expect([await waiting, room.size]).toEqual([true, 0]);
  });
});
