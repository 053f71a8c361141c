import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import rhea, { type Connection, type EventContext } from 'rhea';
import { inject } from 'vitest';
import type { SessionGrant } from '@warren/protocol';
import { binary, bool, described, list, map, NULL, symbol, text, uint } from './amqp-1-0-values.js';
import { until } from './until.js';

/** From here on a node speaks it on the port of AMQP 0-9-1, which clients have. */
export const NATIVE = [4, 0, 0] as const;

/** A back end by AMQP 1.0, with the account that others have by AMQP 0-9-1. */
export class Publisher {
  readonly #connection: Connection;
  #ended: string | undefined;

  constructor(url = inject('broker').endpoints.backendAmqpUrl) {
    const { hostname, port, username, password } = new URL(url);
    this.#connection = rhea.create_container().connect({
      host: hostname,
      port: Number(port),
      hostname: 'vhost:warren',
      username: decodeURIComponent(username),
      password: decodeURIComponent(password),
      reconnect: false,
    });
    for (const event of ['session_error', 'connection_close', 'protocol_error', 'disconnected']) {
      this.#connection.on(event, () => {
        this.#ended = event;
      });
    }
  }

  get isOpen(): boolean {
    return this.#ended === undefined && this.#connection.is_open();
  }

  async opened(): Promise<this> {
    await until(() => this.isOpen, 'a connection');
    return this;
  }

  /** @param sections of the message, as they are written. @returns what the broker says of it. */
  async publish(address: string, ...sections: Buffer[]): Promise<string> {
    const sender = this.#connection.open_sender({ target: { address } });
    await new Promise((resolve) => sender.once('sendable', resolve));
    const outcome = new Promise<string>((resolve) => {
      for (const event of ['accepted', 'rejected', 'released', 'modified']) {
        sender.once(event, () => {
          resolve(event);
        });
      }
    });
    sender.send(Buffer.concat(sections), undefined, 0);
    const said = await outcome;
    sender.close();
    return said;
  }

  close(): void {
    this.#connection.close();
  }
}

/** A client by AMQP 1.0 with a device's token, which consumes a queue. */
export class Consumer {
  readonly bodies: string[] = [];
  /** Why it was refused what it asked for. */
  refusal: string | undefined;
  isOpen = true;
  readonly #connection: Connection;

  constructor({ queue, token, vhost }: SessionGrant, consumed = queue) {
    const { hostname, port } = new URL(inject('broker').endpoints.clientAmqpUrl);
    this.#connection = rhea.create_container().connect({
      host: hostname,
      port: Number(port),
      hostname: `vhost:${vhost}`,
      username: queue,
      password: token,
      reconnect: false,
    });
    this.#connection.on('message', ({ message }: EventContext) => {
      const { content } = message?.body as { content: Buffer };
      this.bodies.push(content.toString('utf8'));
    });
    for (const event of ['session_error', 'receiver_error', 'connection_error']) {
      this.#connection.on(event, ({ session, receiver, connection }: EventContext) => {
        const error = receiver?.error ?? session?.error ?? connection.error;
        this.refusal ??= String((error as { condition?: string } | undefined)?.condition);
      });
    }
    // RabbitMQ says twice that it closes one, at which rhea reads no further.
    for (const event of ['connection_close', 'protocol_error', 'disconnected']) {
      this.#connection.on(event, () => {
        this.isOpen = false;
      });
    }
    this.#connection.open_receiver({ source: { address: `/queues/${consumed}` } });
  }

  async receives(content: string): Promise<void> {
    await until(() => this.bodies.some((body) => body.includes(content)));
  }

  close(): void {
    this.#connection.close();
  }
}

const prelude = (id: number): Buffer => Buffer.from([...Buffer.from('AMQP'), id, 1, 0, 0]);

/** A device that says of messages what no library does. It reads what comes no further than it must. */
export class RawConsumer {
  #received = Buffer.alloc(0);
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      this.#received = Buffer.concat([this.#received, bytes]);
    });
  }

  static async open({ queue, token, vhost }: SessionGrant): Promise<RawConsumer> {
    const { hostname, port } = new URL(inject('broker').endpoints.clientAmqpUrl);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    const consumer = new RawConsumer(socket);
    socket.write(prelude(3));
    consumer.#send(described(0x41, list(symbol('PLAIN'), binary(`\0${queue}\0${token}`))), 1);
    await consumer.#hears(0x44);
    socket.write(prelude(0));
    consumer.#send(described(0x10, list(text('c'), text(`vhost:${vhost}`), uint(65_536))));
    consumer.#send(described(0x11, list(NULL, uint(0), uint(1000), uint(1000))));
    const source = described(0x28, list(text(`/queues/${queue}`)));
    const target = described(0x29, list());
    consumer.#send(
      described(0x12, list(text('l'), uint(0), bool(true), NULL, NULL, source, target)),
    );
    const flow = list(NULL, uint(1000), uint(0), uint(1000), uint(0), uint(0), uint(10));
    consumer.#send(described(0x13, flow));
    return consumer;
  }

  /** Gives the first message back for good, with these annotations: "modified", 3.4.5. */
  async giveUp(...annotations: Buffer[]): Promise<void> {
    await until(() => this.#firstDelivery() !== undefined, 'a message');
    const id = uint(this.#firstDelivery() ?? 0);
    const state = described(0x27, list(bool(true), bool(true), map(...annotations)));
    this.#send(described(0x15, list(bool(true), id, id, bool(true), state)));
  }

  close(): void {
    this.#socket.destroy();
  }

  #send(performative: Buffer, type = 0): void {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(head.length + performative.length);
    head[4] = 2;
    head[5] = type;
    this.#socket.write(Buffer.concat([head, performative]));
  }

  async #hears(performative: number): Promise<void> {
    const begin = Buffer.from([0, 0x53, performative]);
    await until(() => this.#received.includes(begin), `performative ${String(performative)}`);
  }

  /** The id that the first transfer has, as RabbitMQ writes it: behind the handle, both in any size. */
  #firstDelivery(): number | undefined {
    const begin = this.#received.indexOf(Buffer.from([0, 0x53, 0x14]));
    if (begin < 0) return undefined;
    let at = begin + 3 + (this.#received[begin + 3] === 0xc0 ? 3 : 9);
    at += { 0x43: 1, 0x52: 2 }[this.#received[at] ?? 0] ?? 5;
    const code = this.#received[at];
    if (code === 0x43) return 0;
    return code === 0x52 ? this.#received[at + 1] : this.#received.readUInt32BE(at + 1);
  }
}
