import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { reactNative, type AppState, type NetInfo } from '@warren/client/react-native';
import { settle, TestBed } from '@warren/client/testing';
import { TestPublisher } from '@warren/server/testing';
import { Inbox, type Events } from '../../examples/react-native/src/inbox.js';
import { ROOT } from '../support/program.js';

const run = promisify(execFile);

/** React Native's AppState and NetInfo, as a phone moves them. */
class Phone {
  readonly #appListeners = new Set<() => void>();
  readonly #netListeners = new Set<(state: { isConnected: boolean }) => void>();
  #isOnline = true;
  readonly AppState: AppState & { currentState: string } = {
    currentState: 'active',
    addEventListener: (_event, listener) => {
      this.#appListeners.add(listener);
      return { remove: () => this.#appListeners.delete(listener) };
    },
  };
  readonly NetInfo: NetInfo = {
    addEventListener: (listener) => {
      this.#netListeners.add(listener);
      return () => this.#netListeners.delete(listener);
    },
    fetch: () => Promise.resolve({ isConnected: this.#isOnline }),
  };

  go(state: 'active' | 'inactive' | 'background'): void {
    this.AppState.currentState = state;
    for (const listener of this.#appListeners) listener();
  }

  connect(isConnected: boolean): void {
    this.#isOnline = isConnected;
    for (const listener of this.#netListeners) listener({ isConnected });
  }
}

/** AsyncStorage as it behaves: each call takes a while. */
class Storage {
  readonly items = new Map<string, string>();
  isFull = false;
  async getItem(key: string): Promise<string | null> {
    await Promise.resolve();
    return this.items.get(key) ?? null;
  }
  async setItem(key: string, value: string): Promise<void> {
    await Promise.resolve();
    if (this.isFull) throw new Error('The disk is full.');
    this.items.set(key, value);
  }
}

describe('the inbox on a phone', () => {
  let bed: TestBed;
  let phone: Phone;
  let storage: Storage;
  let publisher: TestPublisher<Events>;
  let inbox: Inbox;
  const open = (): Promise<Inbox> => {
    const { platform, ...options } = bed.options;
    const { AppState, NetInfo } = phone;
    const lived = { ...platform, ...reactNative({ AppState, NetInfo }) };
    return Inbox.open({ ...options, platform: lived, handlerRetryDelayMs: 1 }, storage);
  };
  beforeEach(async () => {
    bed = new TestBed({ userId: 'alice' });
    phone = new Phone();
    storage = new Storage();
    publisher = new TestPublisher<Events>({ devices: [bed] });
    inbox = await open();
    inbox.client.start();
    await settle();
  });
  afterEach(() => inbox.client.stop());
  const titles = (): string[] => inbox.getView().notes.map(({ title }) => title);
  const send = (title: string) => publisher.toUser('alice', 'note', { title, text: 'x' });

  it('shows what comes, the newest first, and keeps it on the phone before it is acked', async () => {
    let paints = 0;
    inbox.subscribe(() => paints++);
    await send('one');
    await send('two');
    await settle();
    expect(titles()).toEqual(['two', 'one']);
    expect(paints).toBeGreaterThan(0);
    // The app is killed, and started again.
    await inbox.client.stop();
    inbox = await open();
    expect(titles()).toEqual(['two', 'one']);
  });

  it('lets go of the connection in the background, and has what has waited when it is back', async () => {
    phone.go('inactive');
    await settle();
    expect(inbox.getView().connection.state).toBe('connected');
    phone.go('background');
    await settle();
    expect(inbox.getView().connection).toMatchObject({ state: 'paused', receiving: false });
    await send('while away');
    await settle();
    expect(titles()).toEqual([]);
    phone.go('active');
    await settle();
    expect(titles()).toEqual(['while away']);
    expect(inbox.getView().connection.receiving).toBe(true);
  });

  it('waits for the network when the phone says that it has none', async () => {
    phone.connect(false);
    bed.broker.connection.break('lost');
    await settle();
    expect(inbox.getView().connection.state).toBe('paused');
    // An attempt that is younger than a second is left alone.
    await bed.clock.advance(2000);
    phone.connect(true);
    await settle();
    expect(inbox.getView().connection.state).toBe('connected');
  });

  it('marks as read what was read here, and what was read elsewhere', async () => {
    await send('one');
    await send('two');
    await settle();
    const [two, one] = inbox.getView().notes;
    await inbox.read(one!.id);
    await publisher.toUser('alice', 'warren.read' as 'note', { ids: [two!.id] } as never);
    await settle();
    expect(inbox.getView().notes.map(({ isRead }) => isRead)).toEqual([true, true]);
  });

  it('does not take a note for kept that the phone could not keep', async () => {
    storage.isFull = true;
    await send('one');
    await settle();
    storage.isFull = false;
    for (let attempt = 0; attempt < 3; attempt++) {
      await bed.clock.advance(10);
      await settle();
    }
    expect(storage.items.get('notes:alice')).toContain('one');
    expect(titles()).toEqual(['one']);
  });
});

it('its source fits React Native, NetInfo and AsyncStorage as they are published', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'warren-react-native-'));
  try {
    await cp(join(ROOT, 'examples/react-native'), dir, { recursive: true });
    const npm = (...args: string[]) => run('npm', args, { cwd: dir, maxBuffer: 1 << 24 });
    // As they would come from npm.
    for (const name of ['protocol', 'client-sdk'])
      await npm('pack', join(ROOT, name), '--pack-destination', dir, '--ignore-scripts');
    const packed = (await readdir(dir)).filter((file) => file.endsWith('.tgz'));
    const manifest = JSON.parse(await readFile(join(dir, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
    };
    for (const file of packed) {
      const name = file.startsWith('warren-client') ? '@warren/client' : '@warren/protocol';
      manifest.dependencies[name] = `file:${file}`;
    }
    await writeFile(join(dir, 'package.json'), JSON.stringify(manifest));
    await npm('install', '--ignore-scripts', '--no-audit', '--no-fund');
    await run(process.execPath, [join(dir, 'node_modules/typescript/bin/tsc')], { cwd: dir });
    // And the check would see what does not fit.
    const connect = join(dir, 'src/connect.ts');
    const source = await readFile(connect, 'utf8');
    await writeFile(connect, source.replace('{ AppState, NetInfo }', '{ AppState: NetInfo }'));
    const wrong = run(process.execPath, [join(dir, 'node_modules/typescript/bin/tsc')], {
      cwd: dir,
    });
    await expect(wrong).rejects.toMatchObject({
      stdout: expect.stringContaining('AppState') as string,
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}, 300_000);
