import codec from 'rabbitmq-client/lib/codec.js';
import { describe, expect, it } from 'vitest';
import { boundHeaders } from '../../server/dist/broker/deep-headers.js';
import {
  array,
  EACH_TYPE,
  nested,
  shortString,
  table,
  tableBody,
  text,
  type Entries,
} from '../support/amqp-fields.js';

/** Its types leave this out. */
const library = codec as unknown as {
  decodeFrame: (read: (bytes: number) => Promise<Buffer>) => Promise<{
    fields: { headers: Record<string, unknown> };
  }>;
};
boundHeaders();

/** What the library makes of a content header as RabbitMQ would send it. */
async function read(headers: Entries): Promise<Record<string, unknown>> {
  const start = Buffer.alloc(14);
  start.writeUInt16BE(60);
  // Content type, headers, delivery mode.
  start.writeUInt16BE(0xb000, 12);
  const payload = Buffer.concat([start, shortString('a/b'), tableBody(headers), Buffer.from([2])]);
  const frame = Buffer.concat([Buffer.alloc(7), payload, Buffer.from([0xce])]);
  frame.writeUInt8(2);
  frame.writeUInt16BE(1, 1);
  frame.writeUInt32BE(payload.length, 3);
  let at = 0;
  const { fields } = await library.decodeFrame((bytes) =>
    Promise.resolve(frame.subarray(at, (at += bytes))),
  );
  expect(fields).toMatchObject({ contentType: 'a/b', deliveryMode: 2 });
  return fields.headers;
}

describe('the headers of a message', () => {
  it.each(Object.entries(EACH_TYPE))('are read when one is: %s', async (_, value) => {
    const headers = await read([
      ['before', text('1')],
      ['it', value],
      ['in an array', array(value, text('2'))],
      ['in a table', table([['it', value]])],
      ['after', text('3')],
    ]);
    expect(headers).toMatchObject({ before: '1', after: '3' });
    expect(headers['in an array']).toEqual([headers['it'], '2']);
    expect(headers['in a table']).toEqual({ it: headers['it'] });
  });

  it('are read however deep they are nested', async () => {
    let arrays = text('x');
    for (let level = 0; level < 5000; level++) arrays = array(arrays);
    const headers = await read([
      ['shallow', nested(5)],
      ['tables', nested(5000)],
      ['arrays', arrays],
      ['after', text('1')],
    ]);
    expect(headers['shallow']).toEqual({ x: { x: { x: { x: { x: 'x' } } } } });
    expect(headers['after']).toBe('1');
  });
});
