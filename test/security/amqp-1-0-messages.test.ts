import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { isAtLeast } from '@warren/rabbitmq';
import { NATIVE, Publisher, RawConsumer } from '../support/amqp-1-0.js';
import {
  annotations,
  applicationProperties,
  binary,
  data,
  FOREIGN,
  list,
  map,
  NULL,
  properties,
  symbol,
  text,
  uint,
  UUID,
  value,
} from '../support/amqp-1-0-values.js';
import { EventLog } from '../support/events.js';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/*
 * RabbitMQ takes by AMQP 1.0 what it cannot hand out by AMQP 0-9-1: it fails at it, and ends the connection of whoever is to
 * have it, each time.
 */

const IS_NATIVE = isAtLeast(inject('broker').version, NATIVE);
const SEND = '/exchanges/warren.send';
const LONG = `x-${'k'.repeat(300)}`;

let stack: Stack;
let publisher: Publisher;
let log: EventLog;
beforeAll(async () => {
  if (!IS_NATIVE) return;
  // Only of these can one that consumes change what it gives back.
  stack = await startStack({ config: { mailboxType: 'quorum' } });
  publisher = await new Publisher().opened();
  log = await EventLog.open('message.refused.#');
});
afterAll(async () => {
  if (!IS_NATIVE) return;
  publisher.close();
  await log.close();
  await stack.close();
});

const refusals = () => log.events.filter(({ event }) => event === 'message.refused');

const UNREADABLE: Record<string, Buffer[]> = {
  ...Object.fromEntries(
    Object.entries(FOREIGN).flatMap(([name, odd]) => [
      [`${name} as a property`, [applicationProperties(text('x-odd'), odd)]],
      [`${name} as an annotation`, [annotations(symbol('x-odd'), odd)]],
    ]),
  ),
  'a number as a name': [annotations(symbol('x-odd'), map(uint(1), text('a')))],
  'a long name': [annotations(symbol('x-odd'), map(symbol(LONG), text('a')))],
  'an id of no type of ids': [properties(symbol('id'))],
  'a long content type': [properties(...Array<Buffer>(6).fill(NULL), symbol('x'.repeat(300)))],
  'a priority that is none': [annotations(symbol('x-basic-priority'), text('high'))],
};

describe.runIf(IS_NATIVE)('what a back end publishes by AMQP 1.0', () => {
  it.each(Object.entries(UNREADABLE))(
    'is refused if nobody can hand it out, and what comes after it is sent: %s',
    async (_, sections) => {
      const user = uniqueUser();
      const client = stack.client(user, TRANSPORTS.amqp());
      const messages = collect(client);
      client.start();
      await client.ready();
      const before = refusals().length;
      const body = (content: string) =>
        data(JSON.stringify({ to: { user }, type: 'note', data: content }));
      expect(await publisher.publish(SEND, ...sections, body('odd'))).toBe('accepted');
      expect(await publisher.publish(SEND, body('good'))).toBe('accepted');
      const got = (content: string) => messages.some((each) => each.data === content);
      await until(() => got('good'));
      // Later versions can write some of these.
      const isRefused = () => refusals().length > before;
      await until(() => isRefused() || got('odd'));
      expect(isRefused()).toBe(!got('odd'));
      if (isRefused()) {
        expect(refusals().at(-1)).toMatchObject({ code: 'invalid_request', messageId: null });
      }
      await client.stop();
    },
  );

  it('reaches its user, whatever else is written on it, and however many parts its body has', async () => {
    const user = uniqueUser();
    const client = stack.client(user, TRANSPORTS.amqp());
    const messages = collect(client);
    client.start();
    await client.ready();
    const account = new URL(inject('broker').endpoints.backendAmqpUrl).username;
    const json = JSON.stringify({ to: { user }, type: 'note', data: 'whole' });
    const id = `${user}-id`;
    await publisher.publish(
      SEND,
      annotations(symbol('x-death'), list(map(text('queue'), text('warren.events.a')))),
      properties(text(id), binary(account)),
      applicationProperties(text('x-warren-attempt'), text('50')),
      data(json.slice(0, 10)),
      data(json.slice(10)),
    );
    await until(() => messages.length === 1);
    expect(messages[0]).toMatchObject({ id, data: 'whole' });
    await client.stop();
  });

  it('is refused by its id if its body is a value: what AMQP 0-9-1 has of that is no JSON', async () => {
    const user = uniqueUser();
    const json = JSON.stringify({ to: { user }, type: 'note', data: 1 });
    await publisher.publish(SEND, properties(text(`${user}-value`)), value(text(json)));
    await until(() =>
      refusals().some((event) => 'messageId' in event && event.messageId === `${user}-value`),
    );
  });

  it('stops no history', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'phone' });
    const odd = applicationProperties(text('x-odd'), UUID);
    await publisher.publish('/exchanges/warren.direct/history', odd, data('1'));
    const { body } = await stack.send({ user }, 1, { delivery: 'stored' });
    await until(async () => {
      const { items } = (await stack.api('GET', `/v1/history?user=${user}`)).body;
      return items.some(({ id }) => id === body.id);
    });
  });
});

describe.runIf(IS_NATIVE)('a device by AMQP 1.0 that gives a message back with annotations', () => {
  /** Sends it one, has it given back so, and says what became of it. */
  async function giveUp(...entries: Buffer[]): Promise<() => Promise<boolean>> {
    const user = uniqueUser();
    const device = await RawConsumer.open(await stack.session(user, { deviceId: 'phone' }));
    const { body } = await stack.send({ user }, 1, { track: true });
    await device.giveUp(...entries);
    device.close();
    return async () => {
      const { counts } = (await stack.api('GET', `/v1/messages/${body.id}`)).body;
      return counts.rejected === 1;
    };
  }

  it.each(
    Object.entries({
      'a long name': [],
      'what AMQP 1.0 cannot carry either': [symbol('x-a'), NULL],
    }),
  )('keeps nobody from hearing what became of other messages: %s', async (_, more) => {
    await giveUp(symbol(LONG), text('a'), ...more);
    const isTold = await giveUp();
    await until(isTold);
  });

  it('hides from nobody that it was rejected', async () => {
    const isTold = await giveUp(
      ...[symbol('x-death'), text('none')],
      ...[symbol('x-last-death-queue'), text('warren.wait.1000ms')],
      ...[symbol('x-warren-reason'), text('a job')],
    );
    await until(isTold);
  });
});
