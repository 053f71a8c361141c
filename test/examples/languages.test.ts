import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePorts } from '@warren/rabbitmq';
import { up, type Running } from '@warren/server/dev';
import { commandsIn } from '../support/example.js';
import { processesWith, Program, ROOT } from '../support/program.js';
import { request } from '../support/stack.js';
import { until } from '../support/until.js';

let dir: string;
let running: Running;
const programs: Program[] = [];
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'warren-languages-'));
  const [port = 0] = await freePorts(1);
  running = await up({ dataDir: dir, port });
});
afterAll(async () => {
  for (const program of programs) program.kill();
  await running.stop();
  await rm(dir, { recursive: true, force: true });
});

const api = (method: string, path: string, body?: object) =>
  request(`${running.info.apiUrl}/v1/${path}`, method, running.info.serviceKey, body);
const sh = async (command: string, more: object = {}): Promise<string> =>
  (await promisify(execFile)('sh', ['-c', command], { cwd: ROOT, ...more })).stdout;
const dev = (): string => join(dir, 'dev.json');
/** A README's command on this stack, with Debian's Python, which is the one that has pika. */
const adapted = (command: string): string =>
  command
    .replaceAll('./.warren/dev.json', dev())
    .replace(/^python3 (.*)$/m, `/usr/bin/python3 $1 --dev ${dev()} --seconds 5`)
    .replace(/^(sh examples\/curl\/send\.sh .*)$/m, `$1 ${dev()}`)
    .replace(/^(sh examples\/java\/run\.sh .*)$/m, `exec $1 ${dev()}`);

/** The Java client, as its README starts it. */
function startJava(user: string): Program {
  const program = new Program('sh', ['examples/java/run.sh', user, dev()]);
  programs.push(program);
  return program;
}
const says = (program: Program, text: string) =>
  until(
    () => program.output.includes(text),
    () => `"${text}" in: ${program.output}`,
    60_000,
  );

describe('a back end in another language', () => {
  it.each(['python', 'curl'])(
    'sends by %s as its README says, and reads the outcome',
    async (name) => {
      const [toUser = '', toGroup = ''] = await commandsIn(`examples/${name}/README.md`);
      await api('PUT', 'users/alice');
      await api('PUT', 'groups/room-7/members/alice');
      const java = startJava('alice');
      await says(java, '[connected]');
      const first = await sh(adapted(toUser));
      expect(first).toContain('delivered');
      const second = await sh(adapted(toGroup));
      expect(second).toContain('delivered');
      await says(java, '{"text":"hello, everybody"}');
      java.interrupt();
      await java.exited;
    },
  );

  it('is told by Python that there is no such group, and by curl what was wrong', async () => {
    const python = sh(`/usr/bin/python3 examples/python/send.py group nobodys "x" --dev ${dev()}`);
    await expect(python).rejects.toThrow('refused: group_unknown');
    const curl = sh(`sh examples/curl/send.sh group nobodys 'x' ${dev()}`);
    await expect(curl).rejects.toMatchObject({
      stdout: expect.stringContaining('group_unknown') as string,
    });
    const quotes = await sh(`sh examples/curl/send.sh user alice 'say "hi" \\ bye' ${dev()}`);
    expect(quotes).toMatch(/"outcome":"(queued|delivered)"/);
  });
});

describe('the Java client', () => {
  it('gets what has waited, each message once and in order, across kills of its process', async () => {
    const user = 'java-user';
    let java = startJava(user);
    await says(java, '[connected]');
    const send = (number: number) =>
      api('POST', 'messages', {
        to: { user },
        type: 'chat.message',
        data: { number },
        track: true,
        from: 'bob',
        delivery: 'stored',
      });
    const ids: string[] = [];
    let seen = '';
    for (let number = 0; number < 60; number++) {
      ids.push((await send(number)).body.id);
      if (number % 20 === 10) {
        await says(java, `{"number":${String(number)}}`);
        // No time to say goodbye; half a connection may keep the queue for a while.
        java.kill();
        await java.exited;
        seen += java.output;
        java = startJava(user);
      }
    }
    await says(java, '{"number":59}');
    seen += java.output;
    const numbers = [...seen.matchAll(/chat\.message from bob: \{"number":(\d+)\}/g)].map(
      ([, number]) => Number(number),
    );
    // What was being handled when it was killed is handled again, first of all.
    const once = numbers.filter((number, index) => number !== numbers[index - 1]);
    expect(once).toEqual(Array.from({ length: 60 }, (_, number) => number));
    expect(numbers.length).toBeLessThanOrEqual(60 + 3);
    for (const id of [ids[0], ids[30], ids[59]])
      await until(async () => (await api('GET', `messages/${id!}`)).body.counts.delivered === 1);
    java.interrupt();
    await java.exited;
    expect(await processesWith(`Main ${dev()}`)).toEqual([]);
  });

  it('goes on with another connection when the server closes it, and ends when it is revoked', async () => {
    const user = 'java-revoked';
    const java = startJava(user);
    await says(java, '[connected]');
    await api('POST', `users/${user}/disconnect`);
    await says(java, '[waiting]');
    await until(() => java.output.split('[connected]').length === 3, 'the second connection');
    await api('POST', 'messages', { to: { user }, type: 'chat.message', data: 'again' });
    await says(java, 'chat.message: "again"');
    await api('POST', `users/${user}/revoke`);
    await says(java, '[failed: ');
    java.interrupt();
    await java.exited;
  });

  it('makes up for what its mailbox has lost, before anything newer', async () => {
    const user = 'java-recovery';
    let java = startJava(user);
    await says(java, '[connected]');
    const send = (number: number) =>
      api('POST', 'messages', {
        to: { user },
        type: 'note',
        data: number,
        from: 'Anna C+',
        delivery: 'stored',
      });
    await send(0);
    await says(java, 'note from Anna C+: 0');
    java.interrupt();
    await java.exited;
    for (let number = 1; number <= 5; number++) await send(number);
    const [device] = (await api('GET', `users/${user}`)).body.devices;
    await deleteQueue(device!.queue);
    java = startJava(user);
    await says(java, '[connected]');
    await send(6);
    await says(java, 'note from Anna C+: 6');
    const numbers = [...java.output.matchAll(/note from Anna C\+: (\d)/g)].map(([, number]) =>
      Number(number),
    );
    expect(numbers).toEqual([1, 2, 3, 4, 5, 6]);
    java.interrupt();
    await java.exited;
  });

  it('says what is missing', async () => {
    await expect(sh('sh examples/java/run.sh alice no-such-file')).rejects.toThrow('npm start');
    await expect(sh('sh examples/curl/send.sh user alice x no-such-file')).rejects.toThrow(
      'npm start',
    );
  });

  /** As an expired one is gone. */
  async function deleteQueue(queue: string): Promise<void> {
    const { username, password, origin } = new URL(running.info.managementUrl);
    const path = `/api/queues/warren/${encodeURIComponent(queue)}`;
    const basic = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`);
    const response = await fetch(`${origin}${path}`, {
      method: 'DELETE',
      headers: { authorization: `Basic ${basic.toString('base64')}` },
    });
    expect(response.status).toBe(204);
  }
});
