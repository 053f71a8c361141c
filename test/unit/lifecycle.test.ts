import { describe, expect, it } from 'vitest';
import { electron, getClient, type Platform } from '@warren/client';
import { openStorage, reactNative } from '@warren/client/react-native';
import { settle, TestBed } from '@warren/client/testing';
import { setupBed } from '../support/bed.js';
import { seeded } from '../support/seeded.js';

const HOUR_MS = 3_600_000;

describe('in the background', () => {
  it('the connection stays by default', async () => {
    const { app, clock, connect, state } = setupBed();
    await connect();
    app.hide();
    await clock.advance(HOUR_MS / 2);
    expect(state()).toBe('connected');
  });

  it('it is closed when that is asked for, and dialled once on return', async () => {
    const { app, bed, broker, connect, state } = setupBed({ background: 'disconnect' });
    const connection = await connect();
    app.hide();
    await settle();
    expect([connection.isOpen, state()]).toEqual([false, 'paused: background']);
    app.show();
    app.nudge();
    app.nudge();
    await settle();
    expect(state()).toBe('connected');
    expect([broker.connections.length, bed.requests.length]).toEqual([2, 2]);
    // The same session goes on.
    expect(bed.requests[1]!.sessionId).toBe('test-session');
  });

  it('messages wait, and are handled in order on return', async () => {
    const { client, app, connect, deliver, ended } = setupBed({ background: 'disconnect' });
    const seen: unknown[] = [];
    client.handle('note', ({ data }) => seen.push(data));
    await connect();
    app.hide();
    for (let index = 0; index < 5; index++) deliver(`m${String(index)}`, index);
    await settle();
    expect(ended).toEqual([]);
    app.show();
    await settle();
    expect(seen).toEqual([0, 1, 2, 3, 4]);
    expect(ended).toHaveLength(5);
  });

  it('a running handler ends and acks first, and what was not begun goes back', async () => {
    const { client, app, broker, connect, deliver, ended } = setupBed({ background: 'disconnect' });
    const seen: unknown[] = [];
    let finish: () => void = () => undefined;
    client.handle('note', ({ data }) => {
      seen.push(data);
      return new Promise<void>((resolve) => (finish = resolve));
    });
    const connection = await connect();
    deliver('m1', 1);
    deliver('m2', 2);
    await settle();
    app.hide();
    await settle();
    expect(connection.isOpen).toBe(true);
    finish();
    await settle();
    expect([connection.isOpen, ended, broker.depth]).toEqual([false, ['acked m1'], 1]);
    expect(seen).toEqual([1]);
  });

  it('a grace period spares whoever comes back in time', async () => {
    const { app, broker, clock, connect, state } = setupBed({ background: { graceMs: 30_000 } });
    await connect();
    app.hide();
    await clock.advance(29_000);
    app.show();
    await clock.advance(60_000);
    expect([state(), broker.connections.length]).toEqual(['connected', 1]);
    app.hide();
    await clock.advance(29_000);
    expect(state()).toBe('connected');
    await clock.advance(1000);
    expect(state()).toBe('paused: background');
  });

  it('a grace period is judged by the wall clock, when its timer did not run', async () => {
    const { app, clock, connect, state } = setupBed({ background: { graceMs: 30_000 } });
    await connect();
    app.hide();
    clock.jump(31_000);
    app.nudge();
    await settle();
    expect(state()).toBe('paused: background');
  });

  it('nothing is dialled for a client that is started there, until the app is shown', async () => {
    const { client, app, broker, state } = setupBed({ background: 'disconnect' });
    app.hide();
    client.start();
    await settle();
    expect([state(), broker.connections.length]).toEqual(['paused: background', 0]);
    app.show();
    await settle();
    expect(state()).toBe('connected');
  });
});

describe('an app that is frozen', () => {
  it('has closed its socket before it stops running, without waiting for a handler', async () => {
    const { client, app, broker, connect, deliver, ended } = setupBed();
    let finish: () => void = () => undefined;
    let calls = 0;
    client.handle('note', () => {
      calls++;
      return new Promise<void>((resolve) => (finish = resolve));
    });
    const connection = await connect();
    deliver('m1', 1);
    await settle();
    app.freeze();
    expect(connection.isOpen).toBe(false);
    await settle();
    // What the handler does after the thaw still counts, and the message is not handled again.
    app.show();
    finish();
    await settle();
    expect([calls, ended, broker.connections.length]).toEqual([1, ['acked m1'], 2]);
  });
});

describe('wake-up events', () => {
  it('do nothing to a connection that is alive', async () => {
    const { app, broker, clock, connect } = setupBed();
    await connect();
    for (let turn = 0; turn < 20; turn++) {
      app.nudge();
      await clock.advance(7000);
    }
    expect(broker.connections).toHaveLength(1);
  });

  it('replace at once, and once, a connection that has outlived a sleep', async () => {
    const { app, broker, clock, connect, state } = setupBed();
    const old = await connect();
    clock.jump(5 * HOUR_MS);
    for (let turn = 0; turn < 5; turn++) app.nudge();
    await settle();
    expect(old.isOpen).toBe(false);
    expect([state(), broker.connections.length]).toEqual(['connected', 2]);
    await clock.advance(60_000);
    expect(broker.connections).toHaveLength(2);
  });

  it('are not needed: a clock that jumps by hours is noticed within seconds', async () => {
    const { broker, clock, connect, changes } = setupBed();
    await connect();
    clock.jump(5 * HOUR_MS);
    await clock.advance(5000);
    expect(broker.connections).toHaveLength(2);
    expect(changes.some(({ current }) => current === 'waiting')).toBe(false);
  });

  it('do not replace a connection when the clock is set back', async () => {
    const { app, broker, clock, connect, state } = setupBed();
    await connect();
    clock.jump(-5 * HOUR_MS);
    app.nudge();
    await clock.advance(60_000);
    expect([state(), broker.connections.length]).toEqual(['connected', 1]);
  });

  it('do nothing while an attempt is fresh', async () => {
    const { client, app, bed, clock, state } = setupBed({
      getToken: () => new Promise<string>(() => undefined),
    });
    client.start();
    for (let turn = 0; turn < 10; turn++) {
      app.nudge();
      await clock.advance(100);
    }
    expect([state(), bed.requests.length]).toEqual(['authorizing', 0]);
  });

  it('begin an attempt anew that has slept on the way', async () => {
    let asked = 0;
    const { client, app, clock, state } = setupBed({
      getToken: () => {
        asked++;
        return asked === 1 ? new Promise<string>(() => undefined) : 'test-token';
      },
    });
    client.start();
    await settle();
    clock.jump(HOUR_MS);
    app.nudge();
    await settle();
    expect([state(), asked]).toEqual(['connected', 2]);
  });

  it('end a wait, but no more than once a second, and not while the server asked for it', async () => {
    const { client, app, bed, broker, clock, state } = setupBed({ backoffBaseMs: 60_000 });
    broker.refusals.push('lost', 'lost');
    client.start();
    await settle();
    expect(state()).toBe('waiting: connection_lost');
    for (let turn = 0; turn < 10; turn++) app.nudge();
    await settle();
    expect(bed.requests).toHaveLength(1);
    await clock.advance(1000);
    expect(bed.requests).toHaveLength(2);
    bed.replies.push({ status: 503, headers: { 'retry-after': '20' } });
    await clock.advance(1000);
    app.nudge();
    await clock.advance(1000);
    expect(state()).toBe('waiting: api_unavailable');
    app.nudge();
    await clock.advance(18_000);
    expect(state()).toBe('waiting: api_unavailable');
    await clock.advance(2000);
    expect(state()).toBe('connected');
  });

  it('do not reopen what the application has closed, or what has failed', async () => {
    const { client, app, bed, broker, clock, connect, state } = setupBed();
    await connect();
    await client.stop();
    app.hide();
    app.show();
    clock.jump(HOUR_MS);
    app.nudge();
    await clock.advance(60_000);
    expect([state(), broker.connections.length, app.watchers]).toEqual(['closed', 1, 0]);
    bed.replies.push({ status: 426 });
    client.start();
    await settle();
    app.hide();
    app.show();
    await clock.advance(60_000);
    expect([state(), broker.connections.length, app.watchers]).toEqual([
      'failed: upgrade_required',
      1,
      0,
    ]);
  });
});

describe('offline', () => {
  it('is a pause with a next attempt, and online ends it', async () => {
    const { client, app, broker, clock, connect, state } = setupBed({ backoffBaseMs: 30_000 });
    const connection = await connect();
    broker.reachable = false;
    app.setOnline(false);
    connection.break('lost');
    await clock.advance(2000);
    expect(state()).toBe('paused: offline');
    expect(client.getSnapshot().retryAt).toBeGreaterThan(clock.now);
    broker.reachable = true;
    app.setOnline(true);
    await settle();
    expect(state()).toBe('connected');
  });

  it('is not taken for granted: the backoff goes on, and a connection that works stays', async () => {
    const { app, broker, clock, connect, state } = setupBed();
    const connection = await connect();
    app.setOnline(false);
    await clock.advance(60_000);
    expect([state(), connection.isOpen]).toEqual(['connected', true]);
    connection.break('lost');
    await clock.advance(60_000);
    expect([state(), broker.connections.length]).toEqual(['connected', 2]);
  });
});

describe('a broker that has gone silent', () => {
  it('is left, also when nobody tells that the network has changed', async () => {
    const { broker, clock, connect, state } = setupBed();
    const connection = await connect();
    connection.silence();
    await clock.advance(30_000);
    expect([state(), broker.connections.length]).toEqual(['connected', 2]);
  });

  it('is left, also when the clock is set back meanwhile', async () => {
    const { broker, clock, connect, state } = setupBed();
    const connection = await connect();
    await clock.advance(60_000);
    connection.silence();
    clock.jump(-HOUR_MS);
    await clock.advance(30_000);
    expect([state(), broker.connections.length]).toEqual(['connected', 2]);
  });
});

describe('start and stop', () => {
  it('may come in any order while a token is fetched, and leave one connection or none', async () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = seeded(seed);
      const { client, app, broker, clock, state } = setupBed({
        background: 'disconnect',
        getToken: () =>
          new Promise((resolve) => {
            clock.platform.setTimer(() => {
              resolve('test-token');
            }, random() * 20);
          }),
      });
      client.handle('note', () => undefined);
      let wanted = false;
      let shown = true;
      const steps: string[] = [];
      for (let step = 0; step < 20; step++) {
        const dice = random();
        steps.push(dice < 0.3 ? 'start' : dice < 0.5 ? 'stop' : dice < 0.75 ? 'toggle' : 'wait');
        if (dice < 0.3) {
          client.start();
          wanted = true;
        } else if (dice < 0.5) {
          void client.stop();
          wanted = false;
        } else if (dice < 0.75) {
          shown = !shown;
          if (shown) app.show();
          else if (random() < 0.5) app.freeze();
          else app.hide();
        } else {
          await clock.advance(random() * 30);
        }
        const open = broker.connections.filter(({ isOpen }) => isOpen).length;
        expect(open, `seed ${String(seed)}: ${steps.join(' ')}`).toBeLessThanOrEqual(1);
      }
      await clock.advance(5000);
      const open = broker.connections.filter(({ isOpen }) => isOpen).length;
      const why = `seed ${String(seed)}: ${steps.join(' ')} → ${state()}`;
      expect(open, why).toBe(wanted && shown ? 1 : 0);
      expect(state().split(':')[0], why).toBe(
        wanted
          ? shown
            ? 'connected'
            : 'paused'
          : steps.includes('start') || steps.includes('stop')
            ? 'closed'
            : 'idle',
      );
      await client.stop();
      expect(clock.pending, why).toBe(0);
      expect(app.watchers, why).toBe(0);
    }
  });
});

describe('retain()', () => {
  it('keeps one connection for all holders and a second longer', async () => {
    const { client, broker, clock, state } = setupBed();
    const first = client.retain();
    const second = client.retain();
    await settle();
    first();
    first();
    await clock.advance(5000);
    expect(state()).toBe('connected');
    second();
    await clock.advance(500);
    const third = client.retain();
    await clock.advance(5000);
    expect([state(), broker.connections.length]).toEqual(['connected', 1]);
    third();
    await clock.advance(1000);
    expect(state()).toBe('closed');
    expect(clock.pending).toBe(0);
  });

  it('keeps messages waiting while nobody holds it, and gives back what nobody came for', async () => {
    const { client, broker, clock, deliver, ended } = setupBed();
    const view = () => {
      const remove = client.handle('note', () => undefined);
      const release = client.retain();
      return () => {
        remove();
        release();
      };
    };
    const leave = view();
    await settle();
    leave();
    // Its handler is gone; the connection is not.
    deliver('m1', 1);
    deliver('m2', 2);
    await settle();
    expect([ended, broker.depth]).toEqual([[], 2]);
    // A view may say that it is there before it says what it handles.
    const release = client.retain();
    const remove = client.handle('note', () => undefined);
    await settle();
    expect(ended).toEqual(['acked m1', 'acked m2']);
    remove();
    release();
    deliver('m3', 3);
    await clock.advance(1000);
    expect([client.getSnapshot().state, broker.depth, ended.length]).toEqual(['closed', 1, 2]);
    client.handle('note', () => undefined);
    client.start();
    await settle();
    expect(ended.at(-1)).toBe('acked m3');
  });

  it('does not start again what has failed', async () => {
    const { client, bed, state } = setupBed();
    bed.replies.push({ status: 409 });
    client.retain();
    await settle();
    client.retain();
    await settle();
    expect(state()).toBe('failed: session_replaced');
  });
});

describe('the end of the process', () => {
  it('waits for a running handler, as long as its budget allows', async () => {
    const { client, app, clock, connect, deliver, ended, state } = setupBed({ drainMs: 3000 });
    client.handle(
      'note',
      ({ data }) =>
        new Promise<void>((resolve) => {
          clock.platform.setTimer(resolve, Number(data));
        }),
    );
    await connect();
    deliver('m1', 1000);
    await settle();
    let over = false;
    void app.terminate().then(() => (over = true));
    await clock.advance(900);
    expect(over).toBe(false);
    await clock.advance(200);
    expect([over, ended, state()]).toEqual([true, ['acked m1'], 'closed']);
    client.start();
    await settle();
    deliver('m2', 60_000);
    await settle();
    over = false;
    void app.terminate().then(() => (over = true));
    await clock.advance(3000);
    expect([over, ended]).toEqual([true, ['acked m1']]);
  });
});

/** A client on a test bed, with the life of another platform. */
function setupOn(platform: Partial<Platform>, background?: 'keep') {
  return setupBed({ platform, ...(background !== undefined && { background }) });
}

describe('React Native', () => {
  function fakeNative() {
    let appListener: () => void = () => undefined;
    let netListener: (state: NetState) => void = () => undefined;
    let removed = 0;
    interface NetState {
      isConnected: boolean | null;
      isInternetReachable: boolean | null;
    }
    const net: NetState = { isConnected: true, isInternetReachable: null };
    const AppState = {
      currentState: 'active',
      addEventListener: (_: 'change', listener: () => void) => {
        appListener = listener;
        return { remove: () => removed++ };
      },
    };
    const NetInfo = {
      addEventListener: (listener: (state: NetState) => void) => {
        netListener = listener;
        return () => removed++;
      },
      fetch: () => Promise.resolve(net),
    };
    return {
      AppState,
      NetInfo,
      net,
      removed: () => removed,
      go: (state: string) => {
        AppState.currentState = state;
        appListener();
      },
      tell: () => {
        netListener(net);
      },
    };
  }

  it('closes at once in the background, ignores inactive, and dials once on return', async () => {
    const native = fakeNative();
    const { broker, connect, client, state } = setupOn(reactNative(native));
    // Timers stop there: waiting for the handler would be waiting for the next foreground.
    client.handle('note', () => new Promise(() => undefined));
    const connection = await connect();
    native.go('inactive');
    await settle();
    expect(state()).toBe('connected');
    native.go('background');
    expect(connection.isOpen).toBe(false);
    expect(state()).toBe('paused: background');
    await settle();
    native.go('active');
    await settle();
    expect([state(), broker.connections.length]).toEqual(['connected', 2]);
  });

  it('has no grace period, since its timer would not run', async () => {
    const native = fakeNative();
    const { connect, state } = setupBed({
      platform: reactNative(native),
      background: { graceMs: 60_000 },
    });
    const connection = await connect();
    native.go('background');
    expect([connection.isOpen, state()]).toEqual([false, 'paused: background']);
  });

  it('stays when it is told to', async () => {
    const native = fakeNative();
    const { connect, state } = setupOn(reactNative(native), 'keep');
    await connect();
    native.go('background');
    await settle();
    expect(state()).toBe('connected');
  });

  it('counts an unknown network as online, and asks again on return', async () => {
    const native = fakeNative();
    const { broker, clock, connect, state } = setupOn(reactNative(native));
    await connect();
    native.tell();
    native.go('background');
    await settle();
    native.net.isConnected = false;
    broker.refusals.push('lost', 'lost', 'lost', 'lost', 'lost');
    native.go('active');
    await settle();
    await clock.advance(1500);
    expect(state()).toBe('paused: offline');
    native.net.isConnected = true;
    broker.refusals.length = 0;
    native.tell();
    await clock.advance(1000);
    expect(state()).toBe('connected');
  });

  it('leaves no listener behind', async () => {
    const native = fakeNative();
    const { client, connect } = setupOn(reactNative(native));
    await connect();
    await client.stop();
    expect(native.removed()).toBe(2);
  });

  it('keeps the device’s id and what was handled in an AsyncStorage', async () => {
    const items = new Map([['other', 'untouched']]);
    const asyncStorage = {
      getAllKeys: () => Promise.resolve([...items.keys()]),
      getItem: (key: string) => Promise.resolve(items.get(key) ?? null),
      setItem: (key: string, value: string) => Promise.resolve(items.set(key, value)),
      removeItem: (key: string) => Promise.resolve(items.delete(key)),
    };
    const bed = new TestBed();
    let calls = 0;
    const ids: string[] = [];
    for (let start = 0; start < 2; start++) {
      const { deviceId: _, ...options } = bed.options;
      const client = getClient({ ...options, storage: await openStorage(asyncStorage) });
      ids.push(client.deviceId);
      client.handle('note', () => calls++);
      client.start();
      await settle();
      expect(await bed.deliver('note', 1, { id: 'm1' })).toBe('acked');
      await client.stop();
    }
    expect(ids[0]).toBe(ids[1]);
    expect(calls).toBe(1);
    expect(items.get('other')).toBe('untouched');
  });
});

describe('Electron', () => {
  it('lets go when the machine falls asleep, and dials once when it wakes', async () => {
    const listeners = new Map<string, () => void>();
    const powerMonitor = {
      on: (event: string, listener: () => void) => listeners.set(event, listener),
      off: (event: string) => listeners.delete(event),
    };
    const { client, broker, clock, connect, state } = setupOn(electron({ powerMonitor }));
    const connection = await connect();
    listeners.get('suspend')!();
    expect([connection.isOpen, state()]).toEqual([false, 'paused: frozen']);
    clock.jump(8 * HOUR_MS);
    listeners.get('resume')!();
    await settle();
    expect([state(), broker.connections.length]).toEqual(['connected', 2]);
    await client.stop();
    expect(listeners.size).toBe(0);
  });
});
