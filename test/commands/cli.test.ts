import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { freePorts } from '@warren/rabbitmq';
import { Program } from '../support/program.js';
import {
  ADMIN_KEY,
  request,
  SERVICE_KEY,
  startStack,
  uniqueUser,
  USER_SECRET,
  userToken,
  VIEWER_KEY,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

const WARREN = 'server/bin/warren.js';
let dir: string;
let stack: Stack;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'warren-cli-'));
  stack = await startStack();
});
afterAll(async () => {
  await stack.close();
  await rm(dir, { recursive: true, force: true });
});

async function run(args: string[], environment: Record<string, string> = {}) {
  const program = new Program(process.execPath, [WARREN, ...args], environment);
  return { code: await program.exited, output: program.output };
}

describe('warren', () => {
  it('server: runs by the environment alone, and ends cleanly on SIGTERM', async () => {
    const { endpoints, signingKey } = inject('broker');
    const [port = 0] = await freePorts(1);
    const program = new Program(process.execPath, [WARREN, 'server'], {
      WARREN_AMQP_URL: endpoints.amqpUrl,
      WARREN_MANAGEMENT_URL: endpoints.managementUrl,
      WARREN_PUBLIC_STOMP_URL: endpoints.stompUrl,
      WARREN_SIGNING_KEY: signingKey,
      WARREN_SERVICE_KEYS: SERVICE_KEY,
      WARREN_USER_JWT_SECRET: USER_SECRET,
      WARREN_HOST: '127.0.0.1',
      WARREN_PORT: String(port),
      WARREN_DATA_DIR: dir,
    });
    const url = `http://127.0.0.1:${String(port)}`;
    await until(async () => {
      const response = await fetch(`${url}/health/ready`).catch(() => undefined);
      return response?.status === 200;
    });
    const user = uniqueUser();
    expect((await request(`${url}/v1/sessions`, 'POST', userToken(user), {})).status).toBe(201);
    program.interrupt();
    expect(await program.exited).toBe(0);
    expect(program.output).not.toContain(SERVICE_KEY);
  });

  it('server: lists all that is missing and ends with 1', async () => {
    const { code, output } = await run(['server'], { WARREN_PORT: 'x' });
    expect(code).toBe(1);
    for (const variable of [
      'WARREN_AMQP_URL',
      'WARREN_SIGNING_KEY',
      'WARREN_SERVICE_KEYS',
      'WARREN_PORT',
    ]) {
      expect(output).toContain(variable);
    }
  });

  it('worker: needs the broker and the database alone, and ends cleanly on SIGTERM', async () => {
    const program = new Program(process.execPath, [WARREN, 'worker', 'history'], {
      WARREN_AMQP_URL: inject('broker').endpoints.amqpUrl,
      WARREN_DATA_DIR: stack.dataDir,
    });
    await until(() => program.output.includes('writes stored messages down'));
    program.signal('SIGTERM');
    expect(await program.exited).toBe(0);
  });

  it('worker: several that begin together on a new file all run', async () => {
    for (let round = 0; round < 3; round++) {
      const data = join(dir, `together-${String(round)}`);
      const workers = Array.from(
        { length: 3 },
        () =>
          new Program(process.execPath, [WARREN, 'worker', 'history'], {
            WARREN_AMQP_URL: inject('broker').endpoints.amqpUrl,
            WARREN_DATA_DIR: data,
          }),
      );
      await until(
        () => workers.every(({ output }) => output.includes('writes stored messages down')),
        () => workers.map(({ output }) => output).join('\n'),
      );
      for (const worker of workers) worker.signal('SIGTERM');
      await Promise.all(workers.map(({ exited }) => exited));
    }
  });

  it('worker: says what is missing, what is wrong with the database, and which there are', async () => {
    const missing = await run(['worker', 'history'], { WARREN_HISTORY_DAYS: 'x' });
    expect(missing.code).toBe(1);
    expect(missing.output).toMatch(/WARREN_AMQP_URL: is required/);
    expect(missing.output).toMatch(/WARREN_HISTORY_DAYS: must be a number of days/);
    expect(missing.output).not.toContain('WARREN_SIGNING_KEY');
    const data = join(dir, 'damaged');
    await mkdir(data);
    await writeFile(join(data, 'warren.sqlite'), 'no database'.repeat(1000));
    const environment = {
      WARREN_AMQP_URL: inject('broker').endpoints.amqpUrl,
      WARREN_DATA_DIR: data,
    };
    const damaged = await run(['worker', 'history'], environment);
    expect(damaged.code).toBe(1);
    expect(damaged.output).toMatch(/warren\.sqlite is damaged, or no database/);
    expect(damaged.output).toMatch(/Put a backup of it in its place/);
    expect((await run(['worker', 'nonsense'])).output).toMatch(/Allowed choices are history/);
  });

  it('send: publishes to a user or a group and tells the outcome', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    const environment = { WARREN_AMQP_URL: inject('broker').endpoints.backendAmqpUrl };
    const sent = await run(['send', user, '{"a":1}', '--device', 'phone'], environment);
    expect(JSON.parse(sent.output)).toMatchObject({ outcome: 'queued' });
    const nobody = await run(['send', uniqueUser(), 'plain text', '--live'], environment);
    expect(JSON.parse(nobody.output)).toMatchObject({ outcome: 'offline' });
    expect((await stack.user(user)).devices[0]!.depth).toBe(1);
    const group = `group-${user}`;
    await stack.api('PUT', `/v1/groups/${group}/members/${user}`);
    const toAll = await run(['send', group, 'hello', '--group'], environment);
    expect(JSON.parse(toAll.output)).toMatchObject({ outcome: 'queued' });
    expect((await stack.user(user)).devices[0]!.depth).toBe(2);
    const stored = await run(['send', user, 'kept', '--stored'], environment);
    expect(JSON.parse(stored.output)).toMatchObject({ outcome: 'stored' });
    expect((await stack.user(user)).devices[0]!.depth).toBe(3);
    const changed = await run(['send', user, '{"id":12345678901234567890}'], environment);
    expect([changed.code, changed.output]).toEqual([1, expect.stringContaining('as a string')]);
    const both = await run(['send', user, 'x', '--stored', '--live'], environment);
    expect([both.code, both.output]).toEqual([1, expect.stringContaining('only one of')]);
  });

  it('send: takes its broker from a file, and its names from the variables of the server', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    const file = join(dir, 'amqp-url');
    await writeFile(file, `${inject('broker').endpoints.backendAmqpUrl}\n`);
    const environment = { WARREN_AMQP_URL_FILE: file };
    const sent = await run(['send', user, 'hello'], environment);
    expect(JSON.parse(sent.output)).toMatchObject({ outcome: 'queued' });
    const prefixed = await run(['send', user, 'x'], {
      ...environment,
      WARREN_USER_PREFIX: 'other',
    });
    expect(JSON.parse(prefixed.output)).toMatchObject({ outcome: 'unprovisioned' });
    const exchange = join(dir, 'exchange');
    await writeFile(exchange, 'not.there\n');
    const refused = await run(['send', user, 'x'], {
      ...environment,
      WARREN_EXCHANGE_FILE: exchange,
    });
    expect([refused.code, refused.output]).toEqual([1, expect.stringContaining('WARREN_EXCHANGE')]);
    expect((await stack.user(user)).devices[0]!.depth).toBe(1);
  });

  it('send: says what to do where nothing runs, or answers', async () => {
    const nothing = join(dir, 'nothing');
    const { code, output } = await run(['send', 'a', 'b'], { WARREN_DATA_DIR: nothing });
    expect(code).toBe(1);
    expect(output).toContain(`Nothing runs on ${nothing}`);
    expect(output).toMatch(/npm start/);
    const away = await run(['send', 'a', 'b'], { WARREN_AMQP_URL: 'amqp://127.0.0.1:9/warren' });
    expect(away.code).toBe(1);
    expect(away.output).toMatch(/ECONNREFUSED.*\n.*Check WARREN_AMQP_URL/);
  });

  it('send: says why the broker does not let it in', async () => {
    const { backendAmqpUrl } = inject('broker').endpoints;
    const wrong = new URL(backendAmqpUrl);
    wrong.password = 'another-one';
    const elsewhere = new URL(backendAmqpUrl);
    elsewhere.pathname = '/nowhere';
    const refused: [URL, RegExp][] = [
      [wrong, /does not let warren-backend in.*password.*\n.*change_password/],
      [elsewhere, /There is no vhost nowhere.*\n.*add_vhost|may not enter the vhost nowhere/],
    ];
    for (const [url, text] of refused) {
      const { code, output } = await run(['send', 'a', 'b'], { WARREN_AMQP_URL: url.href });
      expect([code, output]).toEqual([1, expect.stringMatching(text)]);
      expect(output).not.toMatch(/undefined|another-one|could not be reached/);
    }
  });

  it('says of a command that failed what failed, not that Warren could not start', async () => {
    const { endpoints } = inject('broker');
    const away = { WARREN_MANAGEMENT_URL: 'http://a:b@127.0.0.1:9' };
    const secret = { WARREN_AMQP_URL: 'http://a:secret@127.0.0.1' };
    const failures: [string[], Record<string, string>, RegExp][] = [
      [['send', 'a', 'b'], secret, /WARREN_AMQP_URL: must be a URL/],
      [['keys', 'check', 'x'], secret, /WARREN_AMQP_URL: must be a URL/],
      [['keys', 'check', 'x'], {}, /Set WARREN_AMQP_URL/],
      [['keys', 'check', '/x'], { WARREN_AMQP_URL: endpoints.amqpUrl }, /\/x cannot be read/],
      [['provision'], {}, /Set WARREN_MANAGEMENT_URL/],
      [['provision'], away, /cannot be reached.*\n.*Check WARREN_MANAGEMENT_URL/],
      [['service', 'add', 'shop'], away, /Check WARREN_MANAGEMENT_URL/],
      [['doctor'], secret, /WARREN_AMQP_URL: must be a URL/],
      [['why', 'x', '--api', stack.apiUrl], {}, /Set WARREN_ADMIN_KEYS/],
    ];
    for (const [args, environment, text] of failures) {
      const { code, output } = await run(args, { WARREN_DATA_DIR: dir, ...environment });
      expect([args, code]).toEqual([args, 1]);
      expect(output).toMatch(text);
      expect(output).not.toMatch(/could not start|secret|\n\s+at /);
    }
    expect((await run(['server'])).output).toContain('Warren could not start.');
  });

  it('tells its version', async () => {
    const { code, output } = await run(['--version']);
    expect([code, output]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)]);
  });

  it('why: says what happened to a user, and what became of a message', async () => {
    const user = uniqueUser();
    const { body } = await stack.send({ user }, 1, { track: true });
    const environment = { WARREN_ADMIN_KEYS: `viewer:${VIEWER_KEY}` };
    const ofUser = await run(['why', user, '--api', stack.apiUrl], environment);
    expect(ofUser.code).toBe(0);
    expect(ofUser.output).toMatch(/note was sent\..*\n.*note failed: the user had no mailbox\./);
    expect(ofUser.output).toContain('The last trouble: A message note failed');
    const ofMessage = await run(['why', body.id, '--api', stack.apiUrl], environment);
    expect(ofMessage.output).toContain(`${user}: unprovisioned`);
    const nobody = await run(['why', uniqueUser(), '--api', stack.apiUrl], environment);
    expect(nobody.output).toContain('Nothing happened');
  });

  it('why: says that there was no push, as long as the message has not arrived', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    const push = { title: 'A', body: 'b', afterMs: 0 };
    const { id } = (await stack.send({ user }, 1, { push })).body;
    const environment = { WARREN_ADMIN_KEYS: `viewer:${VIEWER_KEY}` };
    const whyNot = async () =>
      (await run(['why', id, '--api', stack.apiUrl], environment)).output.split('\n').at(-2);
    await until(async () => (await whyNot())?.includes('there is no device to push to') === true);
    const receipts = { delivered: [id] };
    await request(`${stack.apiUrl}/v1/me/receipts`, 'POST', userToken(user), receipts);
    expect(await whyNot()).toBe('No trouble is known.');
  });

  it('why: finds a user whose id is a UUID, and says that a message must be tracked to be known', async () => {
    const environment = { WARREN_ADMIN_KEYS: `viewer:${VIEWER_KEY}` };
    const user = randomUUID();
    await stack.session(user, { deviceId: 'phone' });
    const ofUser = await run(['why', user, '--api', stack.apiUrl], environment);
    expect([ofUser.code, ofUser.output]).toEqual([0, expect.stringContaining('ession')]);
    const { body } = await stack.send({ user }, 1);
    const untracked = await run(['why', body.id, '--api', stack.apiUrl], environment);
    expect(untracked.output).toContain('Only what is sent with track');
    const dots = await run(['why', '..', '--api', stack.apiUrl], environment);
    expect([dots.code, dots.output]).toEqual([1, expect.stringContaining('neither "." nor ".."')]);
  });

  it('why: says what to do about a wrong key, a wrong address, and no server', async () => {
    const wrong = { WARREN_ADMIN_KEYS: 'none-of-the-admin-keys' };
    const refused = await run(['why', 'x', '--api', stack.apiUrl], wrong);
    expect([refused.code, refused.output]).toEqual([
      1,
      expect.stringContaining('WARREN_ADMIN_KEYS'),
    ]);
    expect(refused.output).not.toContain('none-of-the-admin-keys');
    const away = await run(['why', 'x', '--api', 'http://127.0.0.1:9'], wrong);
    expect(away.output).toContain('Nothing answers at http://127.0.0.1:9');
    const nothing = await run(['why', 'x', '--data-dir', join(dir, 'nothing')]);
    expect([nothing.code, nothing.output]).toEqual([1, expect.stringContaining('npm start')]);
  });

  it('tail: prints what a user is sent, until Ctrl-C', async () => {
    const user = uniqueUser();
    await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    const program = new Program(
      process.execPath,
      [WARREN, 'tail', user, '--json', '--api', stack.apiUrl],
      { WARREN_ADMIN_KEYS: ADMIN_KEY },
    );
    await until(async () => {
      await stack.send({ user }, { text: 'hello' });
      return program.output.includes('"event":"trace"');
    });
    const [line = ''] = program.output.trim().split('\n');
    expect(JSON.parse(line)).toMatchObject({ user, step: 'sent', preview: '{"text":"hello"}' });
    program.signal('SIGINT');
    expect(await program.exited).toBe(0);
  });

  it('provision: prints what it would make, and makes it', async () => {
    const { output } = await run(['provision', '--print']);
    const definitions = JSON.parse(output) as { policies: { pattern: string }[] };
    expect(definitions.policies.map(({ pattern }) => pattern)).toContain('^user\\.');
    const older = await run(['provision', '--print', '--for', '3.13']);
    expect([output.includes('delivery-limit'), older.output.includes('delivery-limit')]).toEqual([
      true,
      false,
    ]);
    expect((await run(['provision', '--print', '--for', 'newest'])).code).toBe(1);
    const { amqpUrl, managementUrl } = inject('broker').endpoints;
    const environment = { WARREN_AMQP_URL: amqpUrl, WARREN_MANAGEMENT_URL: managementUrl };
    const made = await run(['provision'], environment);
    expect([made.code, made.output]).toEqual([0, 'The vhost warren has all that Warren needs.\n']);
  });
});
