import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type Postgres } from '../support/postgres.js';
import { consumeByAmqp } from '../support/liar.js';
import { QueueWatch } from '../support/queue-watch.js';
import { EventLog } from '../support/events.js';
import {
  collect,
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let postgres: Postgres;
/** Two servers behind a load balancer, as it were. */
let stacks: [Stack, Stack];
beforeAll(async () => {
  postgres = await startPostgres();
  const config = { databaseUrl: postgres.url };
  // At the same time, so that both want to make the tables.
  stacks = await Promise.all([startStack({ config }), startStack({ config })]);
});
afterAll(async () => {
  await Promise.all(stacks.map((stack) => stack.close()));
  await postgres.close();
});

const openAt = (stack: Stack, token: string, body: object) =>
  request(`${stack.apiUrl}/v1/sessions`, 'POST', token, body);

describe('two servers with one PostgreSQL', () => {
  it('give one device one queue, whichever is asked, and how often at once', async () => {
    const user = uniqueUser();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        stacks[index % 2]!.session(user, { deviceId: 'phone' }),
      ),
    );
    expect(new Set(answers.map(({ queue }) => queue)).size).toBe(1);
    expect(new Set(answers.map(({ sessionId }) => sessionId)).size).toBe(20);
    expect((await stacks[1].user(user)).devices).toHaveLength(1);
  });

  it('leave a user no more devices than are allowed, though asked at once', async () => {
    const config = { databaseUrl: postgres.url, maxDevices: 3 };
    const strict = await Promise.all([startStack({ config }), startStack({ config })]);
    const user = uniqueUser();
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        openAt(strict[index % 2]!, userToken(user), { deviceId: `d${String(index)}` }),
      ),
    );
    // Each makes room for the next.
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect((await strict[0].user(user)).devices).toHaveLength(3);
    await Promise.all(strict.map((stack) => stack.close()));
  });

  it('revoke what the other has granted, against those who open meanwhile', async () => {
    const watch = await QueueWatch.open();
    for (let round = 0; round < 5; round++) {
      const user = uniqueUser();
      const grant = await stacks[0].session(user, { deviceId: 'phone' });
      const consumer = await consumeByAmqp(grant);
      const old = userToken(user, { iat: Math.floor(Date.now() / 1000) - 5 });
      const opens = Array.from({ length: 10 }, (_, index) =>
        openAt(stacks[index % 2]!, old, { deviceId: 'phone' }),
      );
      const [revoked] = await Promise.all([
        stacks[1].api('POST', `/v1/users/${user}/revoke`, {}),
        ...opens,
      ]);
      expect(revoked.status).toBe(204);
      expect(await watch.exists(grant.queue)).toBe(false);
      await until(consumer.isGone);
      await consumer.close();
    }
    await watch.close();
  });

  it('keep ids with percent signs apart', async () => {
    const base = uniqueUser();
    const ids = [`${base}%00`, `${base}%2500`, `${base}%`];
    const queues = new Set<string>();
    for (const id of ids) {
      queues.add((await stacks[0].session(id, { deviceId: id })).queue);
      const { devices } = await stacks[1].user(id);
      expect(devices.map(({ deviceId }) => deviceId)).toEqual([id]);
    }
    expect(queues.size).toBe(ids.length);
  });

  it('write down who connects, whatever a client calls its connection', async () => {
    const grant = await stacks[0].session(uniqueUser(), { deviceId: 'phone' });
    const odd = await consumeByAmqp(grant, { connectionName: 'warren mark \0' });
    const next = await stacks[1].session(uniqueUser(), { deviceId: 'phone' });
    const plain = await consumeByAmqp(next);
    const database = new pg.Client({ connectionString: postgres.url });
    await database.connect();
    const queues = [grant.queue, next.queue];
    const query = 'select 1 from connections where user_name = any($1)';
    await until(async () => (await database.query(query, [queues])).rowCount === queues.length);
    await database.end();
    await Promise.all([odd.close(), plain.close()]);
  });

  it('change one group at the same time, and leave nobody half in it', async () => {
    const group = `shared-${uniqueUser()}`;
    const users = Array.from({ length: 60 }, uniqueUser);
    await Promise.all(users.map((user) => stacks[0].api('PUT', `/v1/users/${user}`)));
    await Promise.all(
      [0, 1, 2, 3].flatMap((round) =>
        stacks.map((stack, index) =>
          stack.api('POST', `/v1/groups/${group}/members`, {
            add: users.slice(index * 20, 20 + index * 20 + round),
            remove: users.slice(40),
          }),
        ),
      ),
    );
    const last = { add: users.slice(0, 30), remove: users.slice(30) };
    await stacks[1].api('POST', `/v1/groups/${group}/members`, last);
    expect((await stacks[0].api('GET', `/v1/groups/${group}`)).body.members).toBe(30);
    await stacks[0].send({ group }, 1);
    const depths = async (): Promise<(number | null)[]> => {
      const states = await Promise.all(users.map((user) => stacks[1].user(user)));
      return states.map(({ devices }) => devices[0]!.depth);
    };
    const expected = users.map((_, index) => (index < 30 ? 1 : 0));
    await until(
      async () => (await depths()).join() === expected.join(),
      async () => (await depths()).join(),
    );
  });

  it('follow a message together, and tell of each outcome and of each coming once', async () => {
    const log = await EventLog.open('#');
    const user = uniqueUser();
    const body = { to: { user }, type: 'note', data: 1, track: true, id: `id-${user}` };
    await stacks[0].api('PUT', `/v1/users/${user}`);
    const sent = await Promise.all(
      Array.from({ length: 8 }, (_, index) => stacks[index % 2]!.api('POST', '/v1/messages', body)),
    );
    expect(sent.map(({ status }) => status)).toEqual(sent.map(() => 202));
    const client = stacks[0].client(user, TRANSPORTS.amqp());
    const got = collect(client);
    client.start();
    await until(() => log.of(user).includes('message.delivered delivered'));
    await client.stop();
    await until(() => log.of(user).includes('user.offline'));
    expect(got).toHaveLength(1);
    expect(log.of(user).sort()).toEqual([
      'message.delivered delivered',
      'session.created',
      'user.offline',
      'user.online',
    ]);
    await log.close();
  });

  it('hand an answer to the one that waits for it, whichever the client gives it to', async () => {
    const user = uniqueUser();
    const client = stacks[1].client(user, TRANSPORTS.stomp());
    client.answer('question', ({ data }) => data);
    client.start();
    await client.ready();
    const ask = { to: { user }, type: 'question', data: 'answer' };
    expect((await stacks[0].api('POST', '/v1/requests', ask)).body).toEqual({ reply: 'answer' });
  });

  it('say 503 while it is away, send to users all the same, and go on when it is back', async () => {
    const user = uniqueUser();
    await stacks[0].session(user, { deviceId: 'phone' });
    await postgres.stop();
    const refused = await openAt(stacks[0], userToken(user), { deviceId: 'phone' });
    expect(refused).toMatchObject({ status: 503, body: { code: 'database_unavailable' } });
    expect(refused.headers.get('retry-after')).toBeNull();
    expect((await stacks[0].send({ user }, 'hello')).status).toBe(202);
    await postgres.restart();
    await until(
      async () => (await openAt(stacks[0], userToken(user), { deviceId: 'phone' })).status === 201,
    );
    expect((await stacks[1].user(user)).devices[0]!.depth).toBe(1);
  });

  it('serve a user while ten others wait for what another process holds', async () => {
    const holder = new pg.Client({ connectionString: postgres.url });
    await holder.connect();
    const users = Array.from({ length: 10 }, uniqueUser);
    const keys = users.map((user) => `warren:${user}`);
    const lock = 'select pg_advisory_lock(hashtextextended(key, 0)) from unnest($1::text[]) as key';
    await holder.query(lock, [keys]);
    let served = 0;
    const waiting = users.map(async (user) => {
      const { status } = await openAt(stacks[0], userToken(user), { deviceId: 'phone' });
      if (status === 201) served++;
    });
    const count = "select from pg_locks where locktype = 'advisory' and not granted";
    await until(async () => (await holder.query(count)).rowCount === users.length);
    const other = await openAt(stacks[0], userToken(uniqueUser()), { deviceId: 'phone' });
    expect([other.status, served]).toEqual([201, 0]);
    await holder.end();
    await Promise.all(waiting);
  });

  it('hold no lock after a process that was killed with it', async () => {
    const user = uniqueUser();
    const holder = new pg.Client({ connectionString: postgres.url });
    holder.on('error', () => undefined);
    await holder.connect();
    await holder.query('select pg_advisory_lock(hashtextextended($1, 0))', [`warren:${user}`]);
    const waiting = stacks[0].session(user, { deviceId: 'phone' });
    // As the system does with a killed process's socket.
    (
      holder as unknown as { connection: { stream: { destroy: () => void } } }
    ).connection.stream.destroy();
    expect((await waiting).userId).toBe(user);
  });
});
