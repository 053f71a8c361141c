import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

/** A message as the broker has read it. */
export interface Publish {
  channel: BrokerChannel;
  /** By which it is confirmed. */
  tag: number;
  exchange: string;
  routingKey: string;
  /** The content header as it came, with all properties. */
  header: Buffer;
  body: Buffer;
}

export interface BrokerChannel {
  link: Link;
  id: number;
  isOpen: boolean;
  published: number;
}

const METHOD = 1;
const HEADER = 2;
const BODY = 3;
const FRAME_END = Buffer.from([0xce]);
const FRAME_MAX = 131_072;

type Field = number | string | boolean;
/** Of a method's fields: an octet or bits, a short, a long, a long long, a short or a long string, a table. */
type FieldType = 'octet' | 'short' | 'long' | 'longlong' | 'shortstr' | 'longstr' | 'table';

const field = (type: FieldType, value: Field): Buffer => {
  const bytes = { octet: 1, short: 2, long: 4 };
  if (type === 'shortstr' || type === 'longstr') {
    const text = Buffer.from(String(value), 'utf8');
    return Buffer.concat([field(type === 'shortstr' ? 'octet' : 'long', text.length), text]);
  }
  const buffer = Buffer.alloc(type === 'longlong' ? 8 : type === 'table' ? 4 : bytes[type]);
  if (type === 'longlong') buffer.writeBigUInt64BE(BigInt(Number(value)));
  else if (type !== 'table') buffer.writeUIntBE(Number(value), 0, bytes[type]);
  return buffer;
};

const frame = (type: number, channelId: number, payload: Buffer): Buffer =>
  Buffer.concat([
    field('octet', type),
    field('short', channelId),
    field('long', payload.length),
    payload,
    FRAME_END,
  ]);

/** A method's class and its own number, and its fields. */
const method = (
  channelId: number,
  [classId, methodId]: readonly [number, number],
  ...fields: [FieldType, Field][]
): Buffer => {
  const parts = fields.map(([type, value]) => field(type, value));
  const ids = [field('short', classId), field('short', methodId)];
  return frame(METHOD, channelId, Buffer.concat([...ids, ...parts]));
};

/**
 * One connection between a client and a broker without a network: it speaks AMQP 0-9-1 as far as a publisher does,
 * opens what it is asked to open, and leaves to the test what becomes of messages.
 */
export class Link extends Duplex {
  readonly channels = new Map<number, BrokerChannel>();
  readonly #onPublish: (publish: Publish) => void;
  #unread = Buffer.alloc(0);
  #greeted = false;
  #isOver = false;
  #isBlocked = false;
  readonly #unsaid: Buffer[] = [];
  #incoming: (Omit<Publish, 'tag'> & { left: number }) | undefined;

  constructor(onPublish: (publish: Publish) => void) {
    super();
    this.#onPublish = onPublish;
  }

  /** As of a socket. */
  setNoDelay(): this {
    return this;
  }

  override _read(): void {
    // What is said is pushed when it is said.
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    this.#greet();
    while (this.#unread.length >= 7) {
      const end = 7 + this.#unread.readUInt32BE(3);
      if (this.#unread.length <= end) break;
      const [type, channelId] = [this.#unread.readUInt8(0), this.#unread.readUInt16BE(1)];
      const payload = this.#unread.subarray(7, end);
      this.#unread = this.#unread.subarray(end + 1);
      if (type === METHOD) this.#onMethod(channelId, payload);
      else if (type === HEADER || type === BODY) this.#onContent(type, payload);
    }
    done();
  }

  override _final(done: () => void): void {
    this.#say(null);
    done();
  }

  ack({ channel, tag }: Publish, multiple = false): void {
    this.#confirm(channel, 80, tag, multiple);
  }

  nack({ channel, tag }: Publish, multiple = false): void {
    this.#confirm(channel, 120, tag, multiple);
  }

  /** Nobody has a queue for it. */
  returnUnroutable({ channel, exchange, routingKey, header, body }: Publish): void {
    if (!channel.isOpen) return;
    const { id } = channel;
    const names: [FieldType, Field][] = [
      ['shortstr', exchange],
      ['shortstr', routingKey],
    ];
    this.#say(method(id, [60, 50], ['short', 312], ['shortstr', 'NO_ROUTE'], ...names));
    this.#say(frame(HEADER, id, header));
    if (body.length > 0) this.#say(frame(BODY, id, body));
  }

  /** @param cause class and number of the method that the broker objects to; none of a fault of its own. */
  closeChannel(channel: BrokerChannel, code: number, text: string, cause = [0, 0]): void {
    if (!channel.isOpen) return;
    channel.isOpen = false;
    const [classId = 0, methodId = 0] = cause;
    this.#say(
      method(
        channel.id,
        [20, 40],
        ['short', code],
        ['shortstr', text],
        ['short', classId],
        ['short', methodId],
      ),
    );
  }

  /** As RabbitMQ, it says so once. */
  block(): void {
    if (this.#isBlocked) return;
    this.#isBlocked = true;
    this.#say(method(0, [10, 60], ['shortstr', 'low on memory']));
  }

  unblock(): void {
    if (!this.#isBlocked) return;
    this.#isBlocked = false;
    this.#say(method(0, [10, 61]));
  }

  /** The cable is out; what was said and not read yet is lost. */
  cut(): void {
    for (const channel of this.channels.values()) channel.isOpen = false;
    this.destroy();
  }

  #say(bytes: Buffer | null): void {
    if (this.destroyed || this.#isOver) return;
    for (const earlier of this.#unsaid.splice(0)) this.push(earlier);
    this.#isOver = bytes === null;
    this.push(bytes);
  }

  /** As if it had to travel: other things can happen before. */
  #sayLater(bytes: Buffer): void {
    this.#unsaid.push(bytes);
    setImmediate(() => {
      const next = this.#unsaid.shift();
      if (next !== undefined) this.#say(next);
    });
  }

  #confirm(channel: BrokerChannel, methodId: number, tag: number, multiple: boolean): void {
    if (channel.isOpen) {
      this.#say(method(channel.id, [60, methodId], ['longlong', tag], ['octet', Number(multiple)]));
    }
  }

  #greet(): void {
    if (this.#greeted || this.#unread.length < 8) return;
    this.#greeted = true;
    this.#unread = this.#unread.subarray(8);
    const version: [FieldType, Field][] = [
      ['octet', 0],
      ['octet', 9],
    ];
    const ways: [FieldType, Field][] = [
      ['longstr', 'PLAIN'],
      ['longstr', 'en_US'],
    ];
    this.#say(method(0, [10, 10], ...version, ['table', 0], ...ways));
  }

  #onMethod(channelId: number, payload: Buffer): void {
    const name = `${String(payload.readUInt16BE(0))}.${String(payload.readUInt16BE(2))}`;
    const channel = this.channels.get(channelId);
    if (name === '10.11') {
      this.#say(method(0, [10, 30], ['short', 2047], ['long', FRAME_MAX], ['short', 0]));
    } else if (name === '10.40') this.#say(method(0, [10, 41], ['shortstr', '']));
    else if (name === '10.50') this.#say(method(0, [10, 51]));
    else if (name === '20.10') {
      this.channels.set(channelId, { link: this, id: channelId, isOpen: true, published: 0 });
      this.#sayLater(method(channelId, [20, 11], ['longstr', '']));
    } else if (name === '20.40') {
      if (channel !== undefined) channel.isOpen = false;
      this.#say(method(channelId, [20, 41]));
    } else if (name === '85.10') this.#sayLater(method(channelId, [85, 11]));
    else if (name === '60.40' && channel !== undefined) this.#begin(channel, payload);
  }

  #begin(channel: BrokerChannel, payload: Buffer): void {
    const exchangeEnd = 7 + payload.readUInt8(6);
    const keyEnd = exchangeEnd + 1 + payload.readUInt8(exchangeEnd);
    this.#incoming = {
      channel,
      exchange: payload.toString('utf8', 7, exchangeEnd),
      routingKey: payload.toString('utf8', exchangeEnd + 1, keyEnd),
      header: Buffer.alloc(0),
      body: Buffer.alloc(0),
      left: 0,
    };
  }

  #onContent(type: number, payload: Buffer): void {
    const message = this.#incoming;
    if (message === undefined) return;
    if (type === HEADER) {
      message.header = Buffer.from(payload);
      message.left = Number(payload.readBigUInt64BE(4));
    } else {
      message.body = Buffer.concat([message.body, payload]);
      message.left -= payload.length;
    }
    if (message.left > 0) return;
    this.#incoming = undefined;
    const { left: _left, ...publish } = message;
    // A broker that has closed a channel reads nothing of it any more.
    if (!publish.channel.isOpen) return;
    this.#onPublish({ ...publish, tag: ++publish.channel.published });
  }
}

/** Where `net.connect` of the client leads; stands in for it. */
export class ScriptedAmqp {
  readonly links: Link[] = [];
  isReachable = true;
  readonly #onPublish: (publish: Publish) => void;

  constructor(onPublish: (publish: Publish) => void) {
    this.#onPublish = onPublish;
  }

  connect(): Socket {
    const link = new Link(this.#onPublish);
    if (this.isReachable) this.links.push(link);
    else process.nextTick(() => link.destroy(new Error('connect ECONNREFUSED')));
    return link as unknown as Socket;
  }

  get open(): Link[] {
    return this.links.filter(({ destroyed }) => !destroyed);
  }

  get channels(): BrokerChannel[] {
    return this.open.flatMap((link) => [...link.channels.values()].filter(({ isOpen }) => isOpen));
  }
}
