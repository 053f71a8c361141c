import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  DEFAULT_NAMES,
  installedVersion,
  isAtLeast,
  parseVersion,
  QUORUM_POLICY,
  topology,
  USER_POLICY,
} from '@warren/rabbitmq';

let dir: string | undefined;
afterEach(async () => {
  if (dir !== undefined) await rm(dir, { recursive: true, force: true });
  dir = undefined;
});

/** A file tree as a package would install it. */
async function install(script: string, plugins: string, version: string): Promise<string> {
  dir = await mkdtemp(join(tmpdir(), 'warren-install-'));
  await mkdir(join(dir, plugins, `rabbit-${version}`), { recursive: true });
  await mkdir(join(dir, plugins, 'rabbit_common-9.9.9'), { recursive: true });
  await mkdir(join(dir, plugins, '..', 'sbin'), { recursive: true });
  await writeFile(join(dir, plugins, '..', 'sbin', 'rabbitmq-server'), '');
  await mkdir(join(dir, script, '..'), { recursive: true });
  return dir;
}

describe('the version of a broker', () => {
  it.each([
    ['3.10.8', [3, 10, 8]],
    ['4.3.6', [4, 3, 6]],
    ['4.3.0-rc.1', [4, 3, 0]],
    ['4.1.0+2.g1234', [4, 1, 0]],
    ['4.3', undefined],
    ['', undefined],
  ] as const)('reads %j', (text, version) => {
    expect(parseVersion(text)).toEqual(version);
  });

  it('compares by number, and takes an unknown one for the oldest', () => {
    expect(isAtLeast([4, 10, 0], [4, 2, 6])).toBe(true);
    expect(isAtLeast([4, 2, 6], [4, 2, 6])).toBe(true);
    expect(isAtLeast([4, 2, 5], [4, 2, 6])).toBe(false);
    expect(isAtLeast([3, 13, 7], [4, 0, 0])).toBe(false);
    expect(isAtLeast(undefined, [3, 0, 0])).toBe(false);
  });

  it('is found in Debian’s layout, by the link that its script is', async () => {
    const home = 'usr/lib/rabbitmq/lib/rabbitmq_server-4.3.6';
    const script = '/usr/lib/rabbitmq/bin/rabbitmq-server';
    const root = await install(script, `${home}/plugins`, '4.3.6');
    await symlink('../lib/rabbitmq_server-4.3.6/sbin/rabbitmq-server', join(root, script));
    expect(await installedVersion(script, root)).toEqual([4, 3, 6]);
  });

  it('is found in the generic layout, which Docker and Homebrew have too', async () => {
    const root = await install('/opt/rabbitmq/sbin/x', 'opt/rabbitmq/plugins', '4.2.10');
    expect(await installedVersion('/opt/rabbitmq/sbin/rabbitmq-server', root)).toEqual([4, 2, 10]);
  });

  it('is unknown, and no error, anywhere else', async () => {
    expect(await installedVersion('/nowhere/rabbitmq-server')).toBeUndefined();
    expect(await installedVersion('/usr/bin/env')).toBeUndefined();
  });
});

describe('the policies', () => {
  const named = (version?: Parameters<typeof topology>[1]) =>
    new Map(topology(DEFAULT_NAMES, version).policies.map((policy) => [policy.name, policy]));

  it.each([undefined, [3, 10, 8], [3, 13, 7]] as const)(
    'have nothing that RabbitMQ %j would refuse',
    (version) => {
      const all = [...named(version).values()];
      expect(all.every((policy) => policy['apply-to'] === 'queues')).toBe(true);
      expect(JSON.stringify(all)).not.toContain('delivery-limit');
    },
  );

  it('let a quorum mailbox of 4.0 and later keep a message however often it is given back', () => {
    const policies = named([4, 0, 5]);
    const user = policies.get(USER_POLICY)!;
    const quorum = policies.get(QUORUM_POLICY)!;
    expect(quorum['apply-to']).toBe('quorum_queues');
    expect(quorum.pattern).toBe(user.pattern);
    expect(quorum.priority).toBeGreaterThan(user.priority);
    expect(quorum.definition).toEqual({ ...user.definition, 'delivery-limit': -1 });
    expect(user.definition).not.toHaveProperty('delivery-limit');
  });
});
