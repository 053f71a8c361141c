// AMQP's values as bytes: no library writes all types, nor a wrong one.

/** A value of a table, with the octet that tells its type. */
export type Field = Buffer;

function numbers(tag: string, size: number, write: (buffer: Buffer) => void): Field {
  const buffer = Buffer.alloc(size);
  write(buffer);
  return Buffer.concat([Buffer.from(tag), buffer]);
}

export function shortString(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

export function longString(bytes: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(bytes.length);
  return Buffer.concat([size, bytes]);
}

export const text = (value: string): Field =>
  Buffer.concat([Buffer.from('S'), longString(Buffer.from(value, 'utf8'))]);

export const int64 = (value: bigint): Field => numbers('l', 8, (at) => at.writeBigInt64BE(value));

export const array = (...values: Field[]): Field =>
  Buffer.concat([Buffer.from('A'), longString(Buffer.concat(values))]);

export type Entries = [name: string, value: Field][];

/** As the property `headers` has it, without a type. */
export const tableBody = (entries: Entries): Buffer =>
  longString(Buffer.concat(entries.flatMap(([name, value]) => [shortString(name), value])));

export const table = (entries: Entries): Field =>
  Buffer.concat([Buffer.from('F'), tableBody(entries)]);

export const timestamp = (value: bigint): Field =>
  numbers('T', 8, (at) => at.writeBigUInt64BE(value));

export function nested(depth: number): Field {
  let value = text('x');
  for (let level = 0; level < depth; level++) value = table([['x', value]]);
  return value;
}

/** One of each type that RabbitMQ reads. */
export const EACH_TYPE: Record<string, Field> = {
  bool: Buffer.from('t\x01'),
  int8: Buffer.from('b\xff', 'latin1'),
  uint8: Buffer.from('B\xff', 'latin1'),
  int16: numbers('s', 2, (at) => at.writeInt16BE(-1)),
  uint16: numbers('u', 2, (at) => at.writeUInt16BE(65_535)),
  int32: numbers('I', 4, (at) => at.writeInt32BE(-1)),
  uint32: numbers('i', 4, (at) => at.writeUInt32BE(4_294_967_295)),
  int64: int64(-(2n ** 63n)),
  float: numbers('f', 4, (at) => at.writeFloatBE(1.5)),
  double: numbers('d', 8, (at) => at.writeDoubleBE(1e300)),
  decimal: numbers('D', 5, (at) => at.writeUInt8(2)),
  string: text('a'),
  'empty string': text(''),
  'string that is no UTF-8': Buffer.concat([
    Buffer.from('S'),
    longString(Buffer.from([0xff, 0xfe])),
  ]),
  bytes: Buffer.concat([Buffer.from('x'), longString(Buffer.from([0, 255]))]),
  timestamp: timestamp(2n ** 63n),
  void: Buffer.from('V'),
  'empty array': array(),
  'empty table': table([]),
};
