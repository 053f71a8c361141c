import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { markOf, readEvent, type BrokerEvent } from '../../server/dist/broker/broker-events.js';
import { summarize } from '../../server/dist/broker/connection-journal.js';
import recorded from '../fixtures/connection-events.json' with { type: 'json' };

/** Everybody in the recordings has the token of this queue; liars call themselves otherwise. */
const QUEUE = 'user.u.d.1';
const LIE = 'mallory';

const read = (events: { routingKey: string; headers: object }[]): BrokerEvent[] =>
  events
    .map(({ routingKey, headers }) => readEvent(routingKey, { ...headers }, 'warren'))
    .filter((event) => event !== undefined);

const clients = [
  ...new Set(recorded.map(({ broker, protocol, client }) => `${broker} ${protocol} ${client}`)),
];
const eventsOf = (which: string) =>
  recorded.filter(({ broker, protocol, client }) => `${broker} ${protocol} ${client}` === which);

describe('what the broker tells of connections', () => {
  it.each(clients)('names who has proved to be whom, as recorded: %s', (which) => {
    const [opened, authenticated, closed, ...more] = read(eventsOf(which));
    const name = expect.stringMatching(/^127\.0\.0\.1:\d+ -> 127\.0\.0\.1:\d+$/) as string;
    const at = expect.any(Number) as number;
    const keepsToken = which.includes('stomp');
    const login = keepsToken && which.endsWith('lying') ? LIE : QUEUE;
    expect(opened).toMatchObject({ kind: 'opened', name, login, at });
    // By AMQP the broker looks at the token before it speaks of anybody.
    expect(opened).toHaveProperty('user', keepsToken ? undefined : QUEUE);
    expect(opened).toHaveProperty('keepsToken', keepsToken);
    expect(opened).toHaveProperty(
      'run',
      expect.stringMatching(/^warren-[0-9a-f]+@localhost\.\d+$/),
    );
    expect(authenticated).toEqual({ kind: 'authenticated', name, user: QUEUE, at });
    expect(closed).toEqual({ kind: 'closed', name, at });
    expect(new Set(read(eventsOf(which)).map((event) => 'name' in event && event.name)).size).toBe(
      1,
    );
    expect(more).toEqual([]);
  });

  it('comes without a channel, and with the name in the token, by STOMP on RabbitMQ 4.4', () => {
    // Written by its source, since there is no release yet: rabbit_web_stomp_handler.erl of PR 9141 takes the
    // user out of the record that authentication has filled, and tells no type.
    const headers = {
      pid: '<warren@localhost.1795723847.1258.0>',
      name: '127.0.0.1:34662 -> 127.0.0.1:17270',
      protocol: '{\'Web STOMP\',"1.2"}',
      peer_host: '{127,0,0,1}',
      peer_port: 34662,
      host: '{127,0,0,1}',
      port: 17270,
      user: QUEUE,
      vhost: 'warren',
      connected_at: 1795723855418,
      node: 'warren@localhost',
      timestamp_in_ms: 1795723855418,
    };
    expect(readEvent('connection.created', headers, 'warren')).toEqual({
      kind: 'opened',
      name: headers.name,
      login: QUEUE,
      user: QUEUE,
      run: 'warren@localhost.1795723847',
      mark: undefined,
      keepsToken: true,
      at: headers.timestamp_in_ms,
    });
  });

  it('is of no interest in other vhosts, but for ends, which do not say where', () => {
    for (const { routingKey, headers } of recorded) {
      const event = readEvent(routingKey, { ...headers }, 'another');
      expect(event?.kind).toBe(routingKey === 'connection.closed' ? 'closed' : undefined);
    }
  });

  it('carries the mark of a connection that was made to be seen', () => {
    const { headers } = recorded.find(({ protocol }) => protocol === 'amqp')!;
    const named = (label: string) =>
      readEvent('connection.created', { ...headers, user_provided_name: label }, 'warren');
    const mark = markOf(randomUUID());
    expect(named(mark)).toHaveProperty('mark', mark);
    for (const other of ['somebody’s own', markOf('\0'), `${mark}\0`, `\n${mark}`]) {
      expect(named(other)).toHaveProperty('mark', undefined);
    }
  });
});

describe('many events', () => {
  const opened = (name: string, user?: string): BrokerEvent => ({
    kind: 'opened',
    name,
    login: LIE,
    user,
    run: 'a@b.1',
    mark: undefined,
    keepsToken: true,
    at: 0,
  });
  const authenticated = (name: string): BrokerEvent => ({
    kind: 'authenticated',
    name,
    user: QUEUE,
    at: 0,
  });
  const closed = (name: string): BrokerEvent => ({ kind: 'closed', name, at: 0 });

  it('amount to what is left of them', () => {
    const changes = summarize([
      opened('stays'),
      authenticated('stays'),
      opened('goes'),
      authenticated('goes'),
      closed('goes'),
      authenticated('older'),
      closed('oldest'),
    ]);
    expect(changes).toEqual({
      opened: [
        { name: 'stays', login: LIE, user: QUEUE, run: 'a@b.1', mark: undefined, keepsToken: true },
      ],
      authenticated: [{ name: 'older', user: QUEUE }],
      closed: ['goes', 'oldest'],
    });
  });

  it('tell of whoever has a name last', () => {
    const changes = summarize([opened('a'), authenticated('a'), closed('a'), opened('a')]);
    expect(changes).toEqual({
      opened: [
        { name: 'a', login: LIE, user: undefined, run: 'a@b.1', mark: undefined, keepsToken: true },
      ],
      authenticated: [],
      closed: [],
    });
  });

  it('say the same when they come again from any of them on', () => {
    const events = [opened('a'), authenticated('a'), opened('b'), closed('a'), authenticated('b')];
    const table = new Map<string, string | undefined>();
    const apply = (some: BrokerEvent[]): void => {
      const { opened: fresh, authenticated: known, closed: gone } = summarize(some);
      for (const { name, user } of [...fresh, ...known]) table.set(name, user);
      for (const name of gone) table.delete(name);
    };
    for (let start = 0; start < events.length; start++) {
      apply(events);
      apply(events.slice(start));
      expect([...table]).toEqual([['b', QUEUE]]);
    }
  });
});
