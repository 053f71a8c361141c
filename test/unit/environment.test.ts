import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../support/program.js';

const run = promisify(execFile);
const dist = (path: string): string => JSON.stringify(join(ROOT, 'client-sdk/dist', path));

/** A client on a test bed, in a process where some of the globals were never there. */
const PROGRAM = `
  // Node's own Response is put together when it is first used, with a TextEncoder of its own.
  Response.json({});
  for (const name of process.argv[1].split(' ')) {
    Object.defineProperty(globalThis, name, { value: undefined, configurable: true, writable: true });
    delete globalThis[name];
  }
  const { getClient } = await import(${dist('index.js')});
  const { TestBed, settle } = await import(${dist('testing/index.js')});
  const bed = new TestBed();
  const client = getClient(bed.options);
  const seen = [];
  client.handle('note', ({ data }) => { seen.push(data); });
  client.start();
  await client.ready();
  // Written by hand: what is encoded here is read by the SDK's own decoder.
  const body = Uint8Array.from([0x22, 0xe2, 0x9c, 0x93, 0x22]);
  const properties = { messageId: 'm1', type: 'note', contentType: 'application/json', headers: {} };
  const outcome = await bed.enqueue({ body, properties, live: false });
  await client.stop();
  const added = process.argv[1].split(' ').filter((name) => name in globalThis);
  console.log(JSON.stringify({ seen, outcome, state: client.getSnapshot().state, added }));
`;

describe('the SDK in a place that lacks', () => {
  it.each([
    'window document navigator',
    'BroadcastChannel',
    'TextEncoder TextDecoder',
    'window document navigator TextEncoder TextDecoder BroadcastChannel WebSocket localStorage crypto',
  ])('%s: imports and runs', async (names) => {
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', PROGRAM, names]);
    expect(JSON.parse(stdout)).toEqual({
      seen: ['✓'],
      outcome: 'acked',
      state: 'closed',
      added: [],
    });
  });
});

describe('node()', () => {
  /** A process that handles one message for a while and is told to end meanwhile. */
  const program = (own: string): string => `
    import { getClient, node } from ${dist('index.js')};
    import { TestBed, settle } from ${dist('testing/index.js')};
    const bed = new TestBed();
    const { platform, ...options } = bed.options;
    // Real timers on a clock that stands still.
    const { setTimer, clearTimer, watch, ...rest } = platform;
    const client = getClient({ ...options, platform: { ...rest, ...node() } });
    client.handle('note', () => new Promise((resolve) => setTimeout(resolve, 300)));
    client.on('state', ({ current }) => console.log(current));
    ${own}
    client.start();
    await client.ready();
    bed.deliver('note', 1).then((outcome) => console.log(outcome));
    setInterval(() => undefined, 1000);
    console.log('handling');
  `;
  async function end(own: string): Promise<{ said: string[]; signal: string | null }> {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program(own)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString('utf8');
      if (chunk.includes('handling')) child.kill('SIGTERM');
    });
    const signal = await new Promise<string | null>((resolve) =>
      child.once('close', (_code, by) => {
        resolve(by);
      }),
    );
    return { said: said.trim().split('\n'), signal };
  }

  it('lets the handler end and ack on SIGTERM, then the process ends by it', async () => {
    const { said, signal } = await end('');
    expect(said.slice(-4)).toEqual(['connected', 'handling', 'closed', 'acked']);
    expect(signal).toBe('SIGTERM');
  });

  it('leaves the end to an application that listens too', async () => {
    const { said, signal } = await end(
      `process.on('SIGTERM', () => { setTimeout(() => { console.log('own end'); process.exit(0); }, 600); });`,
    );
    expect(said.slice(-2)).toEqual(['acked', 'own end']);
    expect(signal).toBe(null);
  });
});
