import codec from 'rabbitmq-client/lib/codec.js';

const HEADER_FRAME = 2;
const FRAME_START = 7;
/** Of a content header: class, weight, size of the body, flags of the properties that follow in their order. */
const FLAGS_AT = 12;
const PROPERTIES_AT = 14;
const [CONTENT_TYPE, CONTENT_ENCODING, HEADERS] = [0x8000, 0x4000, 0x2000] as const;
/** As deep as nobody needs; each level is some calls on the stack. */
const DEEPEST = 32;
/** Bytes of a value after its type; of the others, the first four bytes say how many follow. */
const SIZES: readonly [types: string, size: number][] = [
  ['V', 0],
  ['tbB', 1],
  ['su', 2],
  ['Iif', 4],
  ['D', 5],
  ['lTd', 8],
];
const CONTAINERS = 'AF';

type Read = (bytes: number) => Buffer | Promise<Buffer>;
type DecodeFrame = (read: Read) => Promise<unknown>;
/** Its types leave this out; its connections call it as it is at the time. */
const library = codec as unknown as { decodeFrame: DecodeFrame };
const decode = library.decodeFrame;

/**
 * Tables that are nested by the thousand overflow the stack of rabbitmq-client, which gives the connection up, and is
 * handed the same message by the next one, for ever. So what is nested too deep in a content header becomes plain bytes
 * before it is read.
 */
export function boundHeaders(): void {
  library.decodeFrame = decodeFrame;
}

async function decodeFrame(read: Read): Promise<unknown> {
  let isHeader = false;
  return decode(async (bytes) => {
    const chunk = await read(bytes);
    if (isHeader) bound(chunk);
    // The first that is read of a frame, which says what the rest is.
    isHeader = bytes === FRAME_START && chunk[0] === HEADER_FRAME;
    return chunk;
  });
}

/** In place: no size changes. @param header the payload of a content header's frame. */
export function bound(header: Buffer): void {
  const flags = header.readUInt16BE(FLAGS_AT);
  if ((flags & HEADERS) === 0) return;
  let at = PROPERTIES_AT;
  for (const flag of [CONTENT_TYPE, CONTENT_ENCODING]) {
    if ((flags & flag) !== 0) at += 1 + header.readUInt8(at);
  }
  boundTable(header, at, 0);
}

/** @returns where it ends. */
function boundTable(header: Buffer, start: number, depth: number): number {
  const end = start + 4 + header.readUInt32BE(start);
  let at = start + 4;
  while (at < end) at = boundValue(header, at + 1 + header.readUInt8(at), depth);
  return end;
}

function boundArray(header: Buffer, start: number, depth: number): number {
  const end = start + 4 + header.readUInt32BE(start);
  let at = start + 4;
  while (at < end) at = boundValue(header, at, depth);
  return end;
}

function boundValue(header: Buffer, at: number, depth: number): number {
  const type = String.fromCharCode(header.readUInt8(at));
  const start = at + 1;
  const size = SIZES.find(([types]) => types.includes(type))?.[1];
  if (size !== undefined) return start + size;
  if (!CONTAINERS.includes(type)) return start + 4 + header.readUInt32BE(start);
  if (depth < DEEPEST) {
    return (type === 'A' ? boundArray : boundTable)(header, start, depth + 1);
  }
  header.write('x', at);
  return start + 4 + header.readUInt32BE(start);
}
