/** What of amqplib's connection this needs; it is not public. */
interface Frames {
  /** What has arrived and was not read yet. */
  rest: Buffer;
  recvFrame: () => unknown;
}

const HEADER_FRAME = 2;
const BASIC_CLASS = 60;
/** Before its payload, a frame has its type, its channel and its size; one byte comes behind it. */
const PAYLOAD = 7;
/** Before the properties, the payload has its class, a weight, the body's size, and which properties there are. */
const FLAGS = PAYLOAD + 12;
const PROPERTIES = FLAGS + 2;

/** In the order of their flags, from the highest bit (AMQP 0-9-1, 1.8.3). */
const BASIC_PROPERTIES = [
  ['contentType', 'text'],
  ['contentEncoding', 'text'],
  ['headers', 'table'],
  ['deliveryMode', 'octet'],
  ['priority', 'octet'],
  ['correlationId', 'text'],
  ['replyTo', 'text'],
  ['expiration', 'text'],
  ['messageId', 'text'],
  ['timestamp', 'time'],
  ['type', 'text'],
  ['userId', 'text'],
  ['appId', 'text'],
  ['clusterId', 'text'],
] as const;

/**
 * Has a connection of amqplib hand out messages without their headers when it cannot read those. Tables that stand
 * in each other thousands deep, which brokers take, overflow the stack of whoever reads them: the connection ends, the
 * message comes again, and nothing behind it ever does.
 *
 * @param model what amqplib's `connect` resolves with; one of an unknown version stays as it is.
 */
export function keepUnreadable(model: { connection: unknown }): void {
  const frames = model.connection as Partial<Frames>;
  const receive = frames.recvFrame?.bind(frames);
  if (receive === undefined) return;
  frames.recvFrame = () => {
    // Taken off before it is decoded.
    const { rest } = frames;
    try {
      return receive();
    } catch (error) {
      const frame = rest && withoutHeaders(rest);
      if (frame === undefined) throw error;
      return frame;
    }
  };
}

/** As amqplib decodes it; undefined for what is no whole frame of a message's properties. */
function withoutHeaders(rest: Buffer): object | undefined {
  if (rest.length < PROPERTIES || rest[0] !== HEADER_FRAME) return undefined;
  if (rest.length <= PAYLOAD + rest.readUInt32BE(3)) return undefined;
  if (rest.readUInt16BE(PAYLOAD) !== BASIC_CLASS) return undefined;
  const flags = rest.readUInt16BE(FLAGS);
  const fields: Record<string, unknown> = {};
  let at = PROPERTIES;
  for (const [index, [name, kind]] of BASIC_PROPERTIES.entries()) {
    if ((flags & (0x8000 >> index)) === 0) continue;
    if (kind === 'table') {
      fields[name] = {};
      at += 4 + rest.readUInt32BE(at);
    } else if (kind === 'text') {
      const end = at + 1 + rest.readUInt8(at);
      fields[name] = rest.toString('utf8', at + 1, end);
      at = end;
    } else if (kind === 'time') {
      fields[name] = Number(rest.readBigUInt64BE(at));
      at += 8;
    } else fields[name] = rest.readUInt8(at++);
  }
  const size = Number(rest.readBigUInt64BE(PAYLOAD + 4));
  return { id: BASIC_CLASS, channel: rest.readUInt16BE(1), size, fields };
}
