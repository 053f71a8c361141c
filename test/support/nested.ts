import type { Channel } from 'amqplib';
import type { Writable } from 'node:stream';

/** JSON of arrays in arrays: `JSON.parse` reads it, and nothing can write it again. */
export const nestedJson = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

/** Tables in tables, of one header: brokers take them, and most libraries cannot even write them. */
function nestedTable(depth: number): Buffer {
  const parts: Buffer[] = [];
  for (let left = depth; left > 0; left--) {
    // A name of one letter, "F" for a table, and how long it is.
    const part = Buffer.from([1, 0x61, 0x46, 0, 0, 0, 0]);
    part.writeUInt32BE((left - 1) * part.length, 3);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** Publishes a message, frame by frame, whose headers stand in each other this deep. */
export function publishNested(
  channel: Channel,
  to: { exchange: string; routingKey: string },
  { depth, messageId, body }: { depth: number; messageId: string; body: string },
): void {
  const { ch, connection } = channel as unknown as {
    ch: number;
    connection: { stream: Writable };
  };
  const frame = (type: number, ...parts: Buffer[]): Buffer => {
    const payload = Buffer.concat(parts);
    const head = Buffer.alloc(7);
    head.writeUInt8(type, 0);
    head.writeUInt16BE(ch, 1);
    head.writeUInt32BE(payload.length, 3);
    return Buffer.concat([head, payload, Buffer.from([0xce])]);
  };
  const short = (text: string): Buffer =>
    Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
  const content = Buffer.from(body);
  const properties = Buffer.alloc(14);
  properties.writeUInt16BE(60, 0);
  properties.writeUInt32BE(content.length, 8);
  // Headers, delivery mode, message_id.
  properties.writeUInt16BE(0x2000 | 0x1000 | 0x0080, 12);
  const table = nestedTable(depth);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(table.length, 0);
  connection.stream.write(
    Buffer.concat([
      frame(
        1,
        Buffer.from([0, 60, 0, 40, 0, 0]),
        short(to.exchange),
        short(to.routingKey),
        Buffer.from([0]),
      ),
      frame(2, properties, length, table, Buffer.from([2]), short(messageId)),
      frame(3, content),
    ]),
  );
}
