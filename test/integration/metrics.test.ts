import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../support/program.js';
import { startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

const scrape = async (): Promise<string> => (await fetch(`${stack.apiUrl}/metrics`)).text();
const read = (path: string): Promise<string> => readFile(join(ROOT, path), 'utf8');

/** The value of one sample; 0 when there is none. */
async function sample(name: string): Promise<number> {
  const line = (await scrape()).split('\n').find((text) => text.startsWith(`${name} `));
  return Number(line?.split(' ').at(-1) ?? 0);
}

/** Of a histogram, its samples count as it. */
const familyOf = (name: string): string => name.replace(/_(bucket|count|sum)$/, '');

describe('the metrics', () => {
  it('are those that the documentation, the alerts and the dashboard name, and no others', async () => {
    const text = await scrape();
    const exposed = new Set([...text.matchAll(/^# TYPE (warren_\w+)/gm)].map(([, name]) => name!));
    const used = (
      await Promise.all(['docs/prometheus/alerts.yml', 'docs/prometheus/grafana.json'].map(read))
    ).join('\n');
    const names = [...used.matchAll(/\bwarren_[a-z_]+\b/g)].map(([name]) => familyOf(name));
    expect(new Set(names).size).toBeGreaterThan(8);
    expect(names.filter((name) => !exposed.has(name))).toEqual([]);
    const docs = await read('docs/operating.md');
    expect([...exposed].filter((name) => !docs.includes(name))).toEqual([]);
    const told = [...docs.matchAll(/`(warren_[a-z_]+)/g)].map(([, name]) => name!);
    expect(told.filter((name) => !exposed.has(familyOf(name)))).toEqual([]);
  });

  it('count what clients tell, how long it took, and what was given up', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.stomp(), { handlerAttempts: 1 });
    client.handle('note', () => undefined);
    client.start();
    await client.ready();
    await stack.send({ user }, 1, { track: true });
    await stack.send({ user }, 1, { type: 'unknown' });
    await until(async () => (await sample('warren_delivery_seconds_count')) === 1);
    await until(async () => (await sample('warren_receipts_total{kind="no_handler"}')) === 1);
    await until(async () => (await sample('warren_dead_letters_total{reason="rejected"}')) >= 1);
    await until(async () => (await sample('warren_users_online')) >= 1);
  });
});
