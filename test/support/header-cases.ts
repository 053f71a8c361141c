import {
  array,
  EACH_TYPE,
  int64,
  nested,
  table,
  text,
  type Entries,
  type Field,
} from './amqp-fields.js';
import type { RawProperties } from './raw-amqp.js';

/** A message that no honest publisher sends. */
export interface HeaderCase {
  name: string;
  properties: RawProperties;
  /** It has an `x-death` that RabbitMQ itself never writes, and that older versions crash on. */
  isMalformedDeath?: true;
}

/** What RabbitMQ, its plugins or its protocols put a meaning on. */
const NAMES = [
  'x-delay',
  'x-first-death-exchange',
  'x-first-death-queue',
  'x-first-death-reason',
  'x-last-death-exchange',
  'x-last-death-queue',
  'x-last-death-reason',
  'x-opt-deaths',
  'x-opt-enqueue-time',
  'x-stream-offset',
  'x-stream-filter-value',
  'x-priority',
  'x-delivery-count',
  'x-routing-key',
  'x-exchange',
  'x-basic-priority',
];

const withHeaders = (name: string, headers: Entries): HeaderCase => ({
  name,
  properties: { headers },
});

const eachTypeOf = (header: string): HeaderCase[] =>
  Object.entries(EACH_TYPE).map(([type, value]) =>
    withHeaders(`${header}: ${type}`, [[header, value]]),
  );

const eachArrayOf = (header: string): HeaderCase[] =>
  Object.entries(EACH_TYPE).map(([type, value]) =>
    withHeaders(`${header}: array of ${type}`, [[header, array(value)]]),
  );

const malformed = (name: string, value: Field): HeaderCase => ({
  ...withHeaders(`x-death: ${name}`, [['x-death', value]]),
  isMalformedDeath: true,
});

/** @param queue in which the message is to die: its publisher may know the name. */
function deaths(queue: string): HeaderCase[] {
  const inQueue = (reason: string, count: Field): Field =>
    table([
      ['queue', text(queue)],
      ['reason', text(reason)],
      ['count', count],
    ]);
  const said = (...values: Field[]): Entries => [['x-death', array(...values)]];
  return [
    ...eachTypeOf('x-death'),
    ...Object.entries(EACH_TYPE).map(([type, value]) =>
      type === 'empty table'
        ? withHeaders(`x-death: array of ${type}`, said(value))
        : malformed(`array of ${type}`, array(value)),
    ),
    malformed('array of arrays', array(array(text('a')))),
    malformed('a table and a string', array(table([]), text('a'))),
    malformed(
      'counts that are none',
      array(...['expired', 'maxlen', 'rejected'].map((reason) => inQueue(reason, text('a')))),
    ),
    withHeaders('x-death: two tables of one queue', said(table([]), table([]))),
    withHeaders('x-death: a queue that is a number', said(table([['queue', int64(5n)]]))),
    withHeaders(
      'x-death: as RabbitMQ writes it',
      said(...['expired', 'maxlen', 'rejected'].map((reason) => inQueue(reason, int64(1n)))),
    ),
  ];
}

const MANY: Entries = Array.from({ length: 1000 }, (_, index) => [
  `x-${String(index)}`,
  text(String(index)),
]);

const PROPERTIES: HeaderCase[] = [
  { name: 'expiration: a word', properties: { expiration: 'soon' } },
  { name: 'expiration: negative', properties: { expiration: '-1' } },
  { name: 'expiration: a thousand years', properties: { expiration: '31536000000000' } },
  { name: 'priority: 255', properties: { priority: 255 } },
  { name: 'timestamp: 2^63', properties: { timestamp: 2n ** 63n } },
  { name: 'timestamp: 2^64 - 1', properties: { timestamp: 2n ** 64n - 1n } },
  { name: 'user_id: somebody else', properties: { userId: 'warren-server' } },
  { name: 'delivery_mode: 7', properties: { deliveryMode: 7 } },
  withHeaders('headers: nested 100 deep', [['x-nested', nested(100)]]),
  withHeaders('headers: a thousand', MANY),
  withHeaders('headers: one name twice', [
    ['x-death', text('a')],
    ['x-death', text('b')],
  ]),
  withHeaders('headers: an empty name', [['', text('a')]]),
  // Of STOMP's frames, by which browsers are handed the message.
  withHeaders('headers: two lengths of the body', [
    ['content-length', text('99999')],
    ['content-length', text('99998')],
  ]),
  withHeaders(
    'headers: STOMP’s own',
    ['subscription', 'message-id', 'ack', 'destination', 'redelivered', 'receipt-id'].map(
      (name): [string, Field] => [name, text('a\n\n\0b:c')],
    ),
  ),
];

/** What overflows the stack of libraries for Node that read all headers. */
export const DEEP: HeaderCase = withHeaders('headers: nested 5,000 deep', [
  ['x-nested', nested(5000)],
]);

/** By what they have in common. @param queue that they are sent to. */
export const headerCases = (queue: string): Record<string, HeaderCase[]> => ({
  'x-death': deaths(queue),
  CC: [...eachTypeOf('CC'), ...eachArrayOf('CC')],
  BCC: [...eachTypeOf('BCC'), ...eachArrayOf('BCC')],
  'other headers': NAMES.flatMap(eachTypeOf),
  properties: PROPERTIES,
});

export const GROUPS = Object.keys(headerCases(''));
