// AMQP 1.0's values as bytes (part 1, types): a library writes neither all of them, nor any in a wrong place.

const sized = (code: number, bytes: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head[0] = code;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
};

const counted = (code: number, items: Buffer[]): Buffer => {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(items.length);
  return sized(code, Buffer.concat([count, ...items]));
};

export const text = (value: string): Buffer => sized(0xb1, Buffer.from(value, 'utf8'));
export const symbol = (value: string): Buffer => sized(0xb3, Buffer.from(value, 'utf8'));
export const binary = (value: string): Buffer => sized(0xb0, Buffer.from(value, 'utf8'));
export const list = (...items: Buffer[]): Buffer => counted(0xd0, items);
export const map = (...items: Buffer[]): Buffer => counted(0xd1, items);
export const bool = (value: boolean): Buffer => Buffer.from([value ? 0x41 : 0x42]);
export const NULL = Buffer.from([0x40]);

export function uint(value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = 0x70;
  bytes.writeUInt32BE(value, 1);
  return bytes;
}

const fixed = (code: number, ...bytes: number[]): Buffer => Buffer.from([code, ...bytes]);
const ones = (count: number): number[] => Array<number>(count).fill(1);

export const UUID = fixed(0x98, ...ones(16));
/** Types that AMQP 0-9-1 has not. */
export const FOREIGN: Record<string, Buffer> = {
  'a UUID': UUID,
  'a character': fixed(0x73, 0, 0, 0, 65),
  'a decimal': fixed(0x74, ...ones(4)),
  'a number that is none': fixed(0x72, 0x7f, 0xc0, 0, 0),
  'an infinite number': fixed(0x82, 0x7f, 0xf0, ...Array<number>(6).fill(0)),
  'a UUID in a list': list(UUID),
  'a UUID in a map': map(text('a'), UUID),
};

/** Performatives and sections, which a number describes. */
export const described = (descriptor: number, value: Buffer): Buffer =>
  Buffer.concat([Buffer.from([0, 0x53, descriptor]), value]);

/** Of a message (AMQP 1.0, 3.2). */
export const annotations = (...entries: Buffer[]): Buffer => described(0x72, map(...entries));
export const properties = (...fields: Buffer[]): Buffer => described(0x73, list(...fields));
export const applicationProperties = (...entries: Buffer[]): Buffer =>
  described(0x74, map(...entries));
export const data = (bytes: string): Buffer => described(0x75, binary(bytes));
export const value = (of: Buffer): Buffer => described(0x77, of);
