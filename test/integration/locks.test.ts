import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Locks } from '../../server/dist/storage/locks.js';
import { startPostgres, type Postgres } from '../support/postgres.js';
import { uniqueUser } from '../support/stack.js';
import { until } from '../support/until.js';

// Who holds what at which moment shows nowhere outside.

let postgres: Postgres;
/** Of two processes, as it were. */
let locks: [Locks, Locks];
beforeAll(async () => {
  postgres = await startPostgres();
  const open = () => new Locks(postgres.url, () => undefined);
  locks = [open(), open()];
});
afterAll(async () => {
  await Promise.all(locks.map((one) => one.close()));
  await postgres.close();
});

/** Work that has begun and goes on until it is ended. */
async function held(ask: (work: () => Promise<void>) => Promise<void>) {
  let end!: () => void;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  let done!: Promise<void>;
  await new Promise<void>((resolve, reject) => {
    const work = (): Promise<void> => {
      resolve();
      return ended;
    };
    done = ask(work);
    done.catch(reject);
  });
  return async (): Promise<void> => {
    end();
    await done;
  };
}

/** In the database. */
async function untilOneWaits(): Promise<void> {
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  const waiting = "select from pg_locks where locktype = 'advisory' and not granted";
  await until(async () => (await client.query(waiting)).rowCount === 1);
  await client.end();
}

const nothing = () => Promise.resolve('served');

describe('locks in PostgreSQL', () => {
  it('are had by any number of users at the same time', async () => {
    const users = Array.from({ length: 40 }, uniqueUser);
    const ends = await Promise.all(users.map((user) => held((work) => locks[0].user(user, work))));
    for (const one of locks) {
      expect(await one.user(uniqueUser(), nothing)).toBe('served');
      expect(await one.group(users[0]!, nothing)).toBe('served');
    }
    await Promise.all(ends.map((end) => end()));
  });

  it('keep another process out, which comes before whoever asks later', async () => {
    const users = [uniqueUser(), uniqueUser()];
    const order: string[] = [];
    const note = (name: string) => () => Promise.resolve(void order.push(name));
    const end = await held((work) => locks[0].user(users[0]!, work));
    const second = locks[1].users(users, note('second'));
    await untilOneWaits();
    const third = locks[0].user(users[0]!, note('third'));
    expect(order).toEqual([]);
    await end();
    await Promise.all([second, third]);
    expect(order).toEqual(['second', 'third']);
    // Nothing is held any more, neither by who waited nor by who did not.
    for (const one of locks) expect(await one.users(users, nothing)).toBe('served');
  });

  it('are had again after PostgreSQL was away, by those who had one, too', async () => {
    const user = uniqueUser();
    const end = await held((work) => locks[0].user(user, work));
    await postgres.stop();
    await expect(locks[0].user(uniqueUser(), nothing)).rejects.toThrow();
    await postgres.restart();
    expect(await locks[0].user(uniqueUser(), nothing)).toBe('served');
    await end();
    for (const one of locks) expect(await one.user(user, nothing)).toBe('served');
  });
});
