import { connect, type Socket } from 'node:net';
import { longString, shortString, tableBody, type Entries } from './amqp-fields.js';

/** The properties of a message; numbers as they go over the wire, whether they make sense or not. */
export interface RawProperties {
  /** Default: JSON. */
  contentType?: string;
  headers?: Entries;
  deliveryMode?: number;
  priority?: number;
  expiration?: string;
  messageId?: string;
  timestamp?: bigint;
  type?: string;
  userId?: string;
}

/** What the broker says to a publish: that it has it, or why it closes the channel or the connection. */
export type Verdict = 'ack' | 'nack' | `${string} ${string}` | 'disconnected';

type Method = [classId: number, methodId: number];
const METHOD = 1;
const HEADER = 2;
const BODY = 3;
const FRAME_END = 0xce;
const FRAME_MAX = 131_072;
/** The only one, opened anew when the broker has closed it. */
const CHANNEL = 1;

const octet = (value: number): Buffer => Buffer.from([value]);
function short(value: number): Buffer {
  const buffer = Buffer.alloc(2);
  buffer.writeUInt16BE(value);
  return buffer;
}
function uint(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}
function ulong(value: bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(value);
  return buffer;
}

/** In the order of their flags, of which the highest bit is the first. */
function encodeProperties(properties: RawProperties): Buffer {
  const { headers, deliveryMode, priority, expiration, messageId, timestamp, type, userId } =
    properties;
  const parts: [flag: number, value: Buffer | undefined][] = [
    [15, shortString(properties.contentType ?? 'application/json')],
    [13, headers && tableBody(headers)],
    [12, octet(deliveryMode ?? 2)],
    [11, priority === undefined ? undefined : octet(priority)],
    [8, expiration === undefined ? undefined : shortString(expiration)],
    [7, messageId === undefined ? undefined : shortString(messageId)],
    [6, timestamp === undefined ? undefined : ulong(timestamp)],
    [5, type === undefined ? undefined : shortString(type)],
    [4, userId === undefined ? undefined : shortString(userId)],
  ];
  const given = parts.filter((part): part is [number, Buffer] => part[1] !== undefined);
  const flags = given.reduce((sum, [flag]) => sum | (1 << flag), 0);
  return Buffer.concat([short(flags), ...given.map(([, value]) => value)]);
}

/** Publishes what no library would write, one message at a time, on a channel that is opened anew when it is closed. */
export class RawAmqp {
  readonly #socket: Socket;
  #buffer = Buffer.alloc(0);
  #settle: ((verdict: Verdict) => void) | undefined;
  #waiting: { wanted: string; resolve: () => void; reject: (error: Error) => void } | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#settle?.('disconnected');
      this.#waiting?.reject(new Error('The broker closed the connection.'));
    });
    socket.on('data', (data) => {
      this.#buffer = Buffer.concat([this.#buffer, data]);
      this.#read();
    });
  }

  /** @param url with account and vhost. */
  static async open(url: string): Promise<RawAmqp> {
    const { hostname, port, username, password, pathname } = new URL(url);
    const raw = new RawAmqp(connect(Number(port), hostname));
    await raw.#exchange(Buffer.from('AMQP\0\0\x09\x01', 'latin1'), [10, 10]);
    const account = [username, password].map(decodeURIComponent);
    const startOk = [
      tableBody([]),
      shortString('PLAIN'),
      longString(Buffer.from(`\0${account.join('\0')}`)),
      shortString('en_US'),
    ];
    await raw.#exchange(raw.#method(0, [10, 11], ...startOk), [10, 30]);
    raw.#socket.write(raw.#method(0, [10, 31], short(CHANNEL), uint(FRAME_MAX), short(0)));
    const vhost = shortString(decodeURIComponent(pathname.slice(1)));
    await raw.#exchange(raw.#method(0, [10, 40], vhost, shortString(''), octet(0)), [10, 41]);
    await raw.#openChannel();
    return raw;
  }

  async publish(
    exchange: string,
    routingKey: string,
    body: string,
    properties: RawProperties,
  ): Promise<Verdict> {
    const bytes = Buffer.from(body, 'utf8');
    const header = [short(60), short(0), ulong(BigInt(bytes.length)), encodeProperties(properties)];
    const verdict = new Promise<Verdict>((resolve) => {
      this.#settle = resolve;
    });
    this.#socket.write(
      Buffer.concat([
        this.#method(
          CHANNEL,
          [60, 40],
          short(0),
          shortString(exchange),
          shortString(routingKey),
          octet(0),
        ),
        this.#frame(HEADER, CHANNEL, Buffer.concat(header)),
        this.#frame(BODY, CHANNEL, bytes),
      ]),
    );
    const said = await verdict;
    this.#settle = undefined;
    if (/^\d/.test(said) && !this.#socket.destroyed) await this.#openChannel();
    return said;
  }

  get isClosed(): boolean {
    return this.#socket.destroyed;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #openChannel(): Promise<void> {
    await this.#exchange(this.#method(CHANNEL, [20, 10], shortString('')), [20, 11]);
    // confirm.select
    await this.#exchange(this.#method(CHANNEL, [85, 10], octet(0)), [85, 11]);
  }

  /** Writes, and waits for this answer. */
  #exchange(bytes: Buffer, [classId, methodId]: Method): Promise<void> {
    const answered = new Promise<void>((resolve, reject) => {
      this.#waiting = { wanted: `${String(classId)}.${String(methodId)}`, resolve, reject };
    });
    this.#socket.write(bytes);
    return answered;
  }

  #frame(type: number, channel: number, payload: Buffer): Buffer {
    const end = octet(FRAME_END);
    return Buffer.concat([octet(type), short(channel), uint(payload.length), payload, end]);
  }

  #method(channel: number, [classId, methodId]: Method, ...fields: Buffer[]): Buffer {
    const payload = Buffer.concat([short(classId), short(methodId), ...fields]);
    return this.#frame(METHOD, channel, payload);
  }

  #read(): void {
    while (this.#buffer.length >= 7) {
      const size = this.#buffer.readUInt32BE(3);
      if (this.#buffer.length < size + 8) return;
      const [type, channel] = [this.#buffer[0], this.#buffer.readUInt16BE(1)];
      const payload = this.#buffer.subarray(7, 7 + size);
      this.#buffer = this.#buffer.subarray(size + 8);
      if (type === METHOD) this.#take(channel, payload);
    }
  }

  #take(channel: number, payload: Buffer): void {
    const method = `${String(payload.readUInt16BE(0))}.${String(payload.readUInt16BE(2))}`;
    if (method === this.#waiting?.wanted) this.#waiting.resolve();
    if (method === '60.80') this.#settle?.('ack');
    if (method === '60.120') this.#settle?.('nack');
    // channel.close, connection.close
    if (method === '20.40' || method === '10.50') {
      this.#socket.write(this.#method(channel, method === '20.40' ? [20, 41] : [10, 51]));
      const length = payload[6] ?? 0;
      const why = payload.subarray(7, 7 + length).toString('utf8');
      if (method === '10.50') this.#socket.end();
      this.#settle?.(`${String(payload.readUInt16BE(4))} ${why}`);
    }
  }
}
