import { describe, expect, it } from 'vitest';
import { FakeClock, settle } from '@warren/client/testing';
import type { Dispatcher } from '../../client-sdk/dist/dispatcher.js';
import type { Parcel } from '../../client-sdk/dist/message.js';
import type { Platform } from '../../client-sdk/dist/platform/platform.js';
import { Tabs } from '../../client-sdk/dist/tabs.js';

/*
 * Tabs that hang for longer than a test in a browser may take, and tabs with another version of the SDK: a channel
 * and locks of our own, of which a tab hears nothing while it hangs.
 */

type Listener = (event: { data: unknown }) => void;

class Room {
  readonly clock = new FakeClock();
  readonly #listeners = new Map<
    object,
    { hear: Listener; isHanging: () => boolean; kept: unknown[] }
  >();
  readonly #held = new Map<string, Promise<unknown>>();

  /** What somebody says to all others. */
  say(from: object, data: unknown): void {
    for (const [tab, listener] of this.#listeners) {
      if (tab === from) continue;
      if (listener.isHanging()) listener.kept.push(data);
      else listener.hear({ data });
    }
  }

  /** It has come to again, and hears what was said meanwhile. */
  wake(tab: object): void {
    const listener = this.#listeners.get(tab);
    for (const data of listener?.kept.splice(0) ?? []) listener?.hear({ data });
  }

  openChannel(tab: { isHanging: boolean }) {
    const listen = (hear: Listener): void => {
      this.#listeners.set(tab, { hear, isHanging: () => tab.isHanging, kept: [] });
    };
    return {
      postMessage: (data: unknown) => {
        this.say(tab, structuredClone(data));
      },
      set onmessage(hear: Listener) {
        listen(hear);
      },
      close: () => {
        this.#listeners.delete(tab);
      },
    };
  }

  /** One holder at a time, the others in their order. */
  readonly locks = {
    request: async (name: string, _options: unknown, callback: () => unknown): Promise<unknown> => {
      const before = this.#held.get(name);
      const holding = (async () => {
        await before;
        return callback();
      })();
      this.#held.set(name, holding);
      return holding;
    },
  };
}

class FakeTab {
  isHanging = false;
  readonly handled: string[] = [];
  readonly failures: string[] = [];
  readonly tabs: Tabs;

  constructor(room: Room, handles: string[]) {
    const dispatcher = {
      interests: { handled: handles, observed: [], running: [] },
      runFor: ({ properties }: Parcel) => {
        this.handled.push(properties.messageId ?? '');
        return Promise.resolve('acked' as const);
      },
      noteEnded: () => undefined,
      retryKept: () => undefined,
    };
    this.tabs = new Tabs({
      key: 'device',
      platform: { ...room.clock.platform, random: Math.random } as unknown as Platform,
      locks: room.locks as unknown as LockManager,
      openChannel: () => room.openChannel(this),
      dispatcher: dispatcher as unknown as Dispatcher,
      onLead: () => undefined,
      onLost: () => undefined,
      onRefused: () => undefined,
      onLeaderNews: () => undefined,
      onFailed: ({ code }) => this.failures.push(code),
    });
  }

  async open(lead = false): Promise<this> {
    await this.tabs.join();
    if (lead) this.tabs.seek();
    await settle();
    return this;
  }
}

const parcel = (messageId: string): Parcel => ({
  kind: 'queued',
  body: new Uint8Array(),
  properties: { messageId, type: 'note', headers: {} },
  redelivered: false,
  recovered: false,
});

async function setup() {
  const room = new Room();
  const leader = await new FakeTab(room, []).open(true);
  const other = await new FakeTab(room, ['note']).open();
  return { room, leader, other, clock: room.clock };
}

describe('a tab that hangs', () => {
  it('is waited for while it may come back, and then is not', async () => {
    const { room, leader, other, clock } = await setup();
    other.isHanging = true;
    expect(await ended(leader.tabs.run(parcel('m'), 'type'), clock, 3000)).toBeUndefined();
    const waiting = leader.tabs.run(parcel('m'), 'type');
    expect(waiting).toBeDefined();
    expect(await ended(waiting, clock, 59_000)).toBe('nothing yet');
    expect(await ended(waiting, clock, 1000)).toBe('hung');
    // Until it says something, nothing else waits for it.
    expect(await ended(leader.tabs.run(parcel('n'), 'type'), clock, 0)).toBe('hung');
    other.isHanging = false;
    room.wake(other);
    await settle();
    expect(other.handled).toEqual([]);
    expect(await ended(leader.tabs.run(parcel('o'), 'type'), clock, 0)).toBe('acked');
    expect(other.handled).toEqual(['o']);
  });

  it('is given a message anew that it was too late for', async () => {
    const { room, leader, other, clock } = await setup();
    other.isHanging = true;
    const late = leader.tabs.run(parcel('m'), 'type');
    expect(await ended(late, clock, 2500)).toBe('nothing yet');
    other.isHanging = false;
    room.wake(other);
    expect(await ended(late, clock, 0)).toBeUndefined();
    expect(await ended(leader.tabs.run(parcel('m'), 'type'), clock, 0)).toBe('acked');
    expect(other.handled).toEqual(['m']);
  });
});

describe('a tab with another version of the SDK', () => {
  it.each([
    undefined,
    'text',
    { kind: 'news to us' },
    { kind: 'tab' },
    { kind: 'tab', interests: { handled: ['note'] } },
    { kind: 'run' },
    { kind: 'result', ending: 7 },
    { kind: 'lead' },
    { kind: 'ended' },
    { kind: 'failed' },
  ])('breaks nothing by saying %j', async (news) => {
    const { room, leader, other, clock } = await setup();
    const stranger = {};
    // It lives.
    void room.locks.request('device:stranger', {}, () => new Promise(() => undefined));
    room.say(stranger, typeof news === 'object' ? { ...news, from: 'stranger' } : news);
    await settle();
    expect(await ended(leader.tabs.run(parcel('m'), 'type'), clock, 0)).toBe('acked');
    expect(other.handled).toEqual(['m']);
    leader.tabs.tellEnded(parcel('m'), 'acked');
  });
});

/** What it has come to after so long. */
async function ended(
  running: Promise<unknown> | undefined,
  clock: FakeClock,
  ms: number,
): Promise<unknown> {
  let result: unknown = 'nothing yet';
  void running?.then((value) => (result = value));
  await clock.advance(ms);
  await settle();
  return result;
}
