import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { RemoteKeys } from '../../server/dist/sessions/remote-keys.js';

const keyOf = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
const jwkOf = (kid: string, more: object = {}) => ({
  ...keyOf().export({ format: 'jwk' }),
  kid,
  ...more,
});

/** A provider of logins, and how often it was asked. */
async function startProvider() {
  const provider = {
    url: '',
    keys: [] as object[],
    asked: 0,
    answer: undefined as ((response: ServerResponse) => void) | undefined,
  };
  const server = createServer((_request, response) => {
    provider.asked++;
    if (provider.answer !== undefined) provider.answer(response);
    else response.end(JSON.stringify({ keys: provider.keys }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  provider.url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/keys`;
  return provider;
}

/** Moves the clock by which ages are told; timers and sockets go on as they are. */
function skip(ms: number): void {
  const now = performance.now();
  vi.spyOn(performance, 'now').mockImplementation(() => now + ms);
}
afterEach(() => {
  vi.restoreAllMocks();
});

const isUnavailable = { code: 'keys_unavailable' };

describe('the keys of a provider of logins', () => {
  it('are fetched once for all who ask at the same time, and found by their names', async () => {
    const provider = await startProvider();
    provider.keys = [
      jwkOf('one'),
      jwkOf('two'),
      jwkOf('for encryption', { use: 'enc' }),
      { kid: 'odd' },
    ];
    const keys = new RemoteKeys(provider.url);
    const found = await Promise.all(['one', 'two', 'one'].map((kid) => keys.find(kid)));
    expect(found.map((key) => key?.asymmetricKeyType)).toEqual(['ec', 'ec', 'ec']);
    expect(provider.asked).toBe(1);
    expect(await keys.find('for encryption')).toBeUndefined();
    expect(await keys.find(undefined)).toBeUndefined();
    provider.keys = [jwkOf('alone')];
    expect(await new RemoteKeys(provider.url).find(undefined)).toBeDefined();
  });

  it('are found whatever else is asked for, and made-up names cost the provider five requests a minute', async () => {
    const provider = await startProvider();
    provider.keys = [jwkOf('one')];
    const keys = new RemoteKeys(provider.url);
    await keys.find('one');
    expect(await keys.find('forged')).toBeUndefined();
    // Is known not to be there.
    for (let index = 0; index < 20; index++) await keys.find('forged');
    expect(provider.asked).toBe(2);
    const answers: string[] = [];
    for (let index = 0; index < 200; index++) {
      const answer = await keys.find(`forged-${String(index)}`).then(
        () => 'unknown',
        (error: unknown) => (error as { code: string }).code,
      );
      answers.push(answer);
      expect(await keys.find('one')).toBeDefined();
    }
    expect(answers.filter((answer) => answer === 'unknown')).toHaveLength(3);
    expect(provider.asked).toBe(5);
    // One that is new may be there: it is not said to be unknown before it was looked for.
    provider.keys.push(jwkOf('new'));
    await expect(keys.find('new')).rejects.toMatchObject({
      ...isUnavailable,
      retryAfterSeconds: 60,
    });
    skip(61_000);
    expect(await keys.find('new')).toBeDefined();
  });

  it('go on being used while the provider is away, for a day, and are fetched anew in the background', async () => {
    const provider = await startProvider();
    provider.keys = [jwkOf('one')];
    const keys = new RemoteKeys(provider.url);
    await keys.find('one');
    provider.answer = (response) => response.writeHead(500).end();
    skip(23 * 60 * 60 * 1000);
    expect(await keys.find('one')).toBeDefined();
    await vi.waitFor(() => {
      expect(provider.asked).toBe(2);
    });
    skip(2 * 60 * 60 * 1000);
    await expect(keys.find('one')).rejects.toMatchObject(isUnavailable);
    provider.answer = undefined;
    expect(await keys.find('one')).toBeDefined();
  });

  it.each([
    ['no JSON', (response: ServerResponse) => response.end('<html>')],
    ['no set of keys', (response: ServerResponse) => response.end('{"keys":{"one":1}}')],
    ['too much', (response: ServerResponse) => response.end(' '.repeat(1024 * 1024 + 1))],
    ['an error', (response: ServerResponse) => response.writeHead(404).end('{"keys":[]}')],
  ])('are unavailable when the provider answers %s', async (_what, answer) => {
    const provider = await startProvider();
    provider.answer = answer;
    await expect(new RemoteKeys(provider.url).find('one')).rejects.toMatchObject(isUnavailable);
  });
});
