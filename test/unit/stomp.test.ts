import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { TransportError, type Delivery, type TransportConnection } from '@warren/client';
import { stomp, type StompOptions } from '@warren/client';
import { until } from '../support/until.js';

/** A broker whose every frame the test writes; it knows nothing of STOMP. */
class ScriptedBroker {
  readonly #server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  readonly sockets: WebSocket[] = [];
  readonly received: string[] = [];
  readonly listening = new Promise((resolve) => this.#server.once('listening', resolve));

  constructor() {
    this.#server.on('connection', (socket) => {
      this.sockets.push(socket);
      socket.on('message', (data: Buffer) => this.received.push(data.toString('utf8')));
    });
  }

  get url(): string {
    return `ws://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}/ws`;
  }

  /** The newest frame with this command. */
  async frame(command: string): Promise<string> {
    const find = () => this.received.findLast((frame) => frame.startsWith(`${command}\n`));
    await until(() => find() !== undefined, command);
    return find()!;
  }

  send(frame: string | Buffer): void {
    this.sockets.at(-1)!.send(frame);
  }

  close(): void {
    for (const socket of this.sockets) socket.terminate();
    this.#server.close();
  }
}

let broker: ScriptedBroker;
beforeEach(async () => {
  broker = new ScriptedBroker();
  await broker.listening;
});
afterEach(() => {
  broker.close();
});

const dial = (options: StompOptions = {}, timeoutMs = 5000): Promise<TransportConnection> =>
  stomp({
    createWebSocket: (url, protocols) =>
      new WebSocket(url, protocols) as unknown as globalThis.WebSocket,
    ...options,
  }).connect({
    url: broker.url,
    vhost: 'warren',
    login: 'user.alice.phone.1',
    token: 'a.b:c\\d',
    signal: new AbortController().signal,
    timeoutMs,
  });

async function connected(options?: StompOptions): Promise<TransportConnection> {
  broker.received.length = 0;
  const dialled = dial(options);
  await broker.frame('CONNECT');
  broker.send('CONNECTED\nversion:1.2\nheart-beat:10000,10000\n\n\0');
  return dialled;
}

/** Consumes a queue; the broker grants it. */
async function consuming(connection: TransportConnection): Promise<Delivery[]> {
  const deliveries: Delivery[] = [];
  const consumed = connection.consume('mail', 10, (delivery) => deliveries.push(delivery));
  const subscribe = await broker.frame('SUBSCRIBE');
  const receipt = /receipt:(.*)/.exec(subscribe)![1]!;
  broker.send(`RECEIPT\nreceipt-id:${receipt}\n\n\0`);
  await consumed;
  return deliveries;
}
const subscription = async (): Promise<string> =>
  /\nid:(.*)/.exec(await broker.frame('SUBSCRIBE'))![1]!;

describe('a STOMP connection', () => {
  it('that is lost says with which code', async () => {
    const connection = await connected();
    broker.sockets.at(-1)!.close(4321);
    expect((await connection.ended).message).toContain('(4321)');
  });

  it('logs in with what it was given, unescaped, and asks for heartbeats', async () => {
    const connection = await connected();
    const frame = await broker.frame('CONNECT');
    expect(frame.split('\n').sort()).toEqual(
      [
        'CONNECT',
        '',
        '\0',
        'accept-version:1.2',
        'heart-beat:10000,10000',
        'host:warren',
        'login:user.alice.phone.1',
        'passcode:a.b:c\\d',
      ].sort(),
    );
    await connection.close(0);
  });

  it('reads frames however the network cuts or joins them, and their headers as STOMP 1.2 says', async () => {
    const connection = await connected();
    const deliveries = await consuming(connection);
    const id = await subscription();
    const message = (body: Buffer, more = '') =>
      Buffer.concat([
        Buffer.from(
          `MESSAGE\nsubscription:${id}\nmessage-id:1\nack:a\\c1\ntype:chat\\cnew\\\\c\ntype:second\n${more}content-length:${String(body.length)}\n\n`,
        ),
        body,
        Buffer.from('\0\n'),
      ]);
    const whole = Buffer.concat([
      message(Buffer.from([0, 1, 0, 255]), 'x-one:1\nredelivered:true\n'),
      message(Buffer.from('"✓"'), 'content-type:application/json\ntimestamp:1700000000\n'),
    ]);
    broker.send(whole.subarray(0, 20));
    broker.send(whole.subarray(20, 21));
    broker.send(whole.subarray(21));
    await until(() => deliveries.length === 2);
    const [first, second] = deliveries as [Delivery, Delivery];
    expect([...first.body]).toEqual([0, 1, 0, 255]);
    expect(first.redelivered).toBe(true);
    expect(first.properties).toEqual({ type: 'chat:new\\c', headers: { 'x-one': '1' } });
    expect(second.properties).toMatchObject({
      contentType: 'application/json',
      timestamp: 1_700_000_000_000,
    });
    expect(first.ack()).toBe(true);
    expect(await broker.frame('ACK')).toBe('ACK\nid:a\\c1\n\n\0');
    expect(second.reject()).toBe(true);
    expect(await broker.frame('NACK')).toBe('NACK\nid:a\\c1\nrequeue:false\n\n\0');
    await connection.close(0);
  });

  it('believes no length of a body but RabbitMQ’s own, which comes last', async () => {
    const connection = await connected();
    const deliveries = await consuming(connection);
    const id = await subscription();
    const start = `MESSAGE\nsubscription:${id}\nack:1\ncontent-length:99999\n`;
    broker.send(`${start}persistent:1\ncontent-length:3\n\na\0b\0`);
    broker.send(`${start}persistent:1\n\n\0`);
    broker.send(`MESSAGE\nsubscription:${id}\nack:1\ncontent-length:4\n\ngood\0`);
    await until(() => deliveries.length === 3);
    const bodies = deliveries.map(({ body }) => Buffer.from(body).toString());
    expect(bodies).toEqual(['a\0b', '', 'good']);
    await connection.close(0);
  });

  it.each([
    ['Bad CONNECT', 'Access refused for user', 'refused'],
    // RabbitMQ from 4.3.6 on, when the token of an open connection ends.
    [
      'Credential expired',
      'The credential used to authenticate this connection has expired',
      'refused',
    ],
    ['Server cancelled subscription', '', 'cancelled'],
    ['not_found', "NOT_FOUND - no queue 'x'", 'cancelled'],
    ['Something new', '', 'lost'],
  ])(
    'closes itself after the ERROR "%s", which leaves the socket open',
    async (message, body, failure) => {
      const connection = await connected();
      broker.send(`ERROR\nmessage:${message}\n\n${body}\0`);
      const error = await connection.ended;
      expect(error).toBeInstanceOf(TransportError);
      expect(error.failure).toBe(failure);
      expect(connection.isOpen).toBe(false);
      await until(() => broker.sockets[0]!.readyState === WebSocket.CLOSED);
    },
  );

  it('is refused when the ERROR comes instead of CONNECTED', async () => {
    const dialled = dial();
    await broker.frame('CONNECT');
    broker.send('ERROR\nmessage:Bad CONNECT\n\nAccess refused\0');
    await expect(dialled).rejects.toMatchObject({ failure: 'refused' });
  });

  it('is given up when the broker does not answer in time, or nobody wants it any more', async () => {
    await expect(dial({}, 50)).rejects.toMatchObject({ failure: 'lost' });
    await until(() => broker.sockets[0]?.readyState === WebSocket.CLOSED);
  });

  it('does not ack what came by a connection that is gone', async () => {
    const connection = await connected();
    const deliveries = await consuming(connection);
    const id = await subscription();
    broker.send(`MESSAGE\nsubscription:${id}\nack:1\n\nx\0`);
    await until(() => deliveries.length === 1);
    broker.sockets[0]!.terminate();
    await connection.ended;
    const second = await connected();
    await consuming(second);
    // Another connection's subscription has another name, since the broker would not tell them apart.
    expect(await subscription()).not.toBe(id);
    expect([deliveries[0]!.ack(), deliveries[0]!.reject()]).toEqual([false, false]);
    await second.close(0);
    expect(broker.received.filter((frame) => /^N?ACK/.test(frame))).toEqual([]);
  });

  it('waits for the receipt of its DISCONNECT, no longer than it may', async () => {
    const polite = await connected();
    const closed = polite.close(5000);
    const receipt = /receipt:(.*)/.exec(await broker.frame('DISCONNECT'))![1]!;
    broker.send(`RECEIPT\nreceipt-id:${receipt}\n\n\0`);
    await closed;
    await until(() => broker.sockets[0]!.readyState === WebSocket.CLOSED);
    const mute = await connected();
    await mute.close(30);
    await until(() => broker.sockets[1]!.readyState === WebSocket.CLOSED);
  });

  it('answers the broker’s heartbeats, which reach a hidden page when its own timers do not', async () => {
    const connection = await connected();
    const { now } = Date;
    const before = broker.received.length;
    try {
      Date.now = () => now() + 6000;
      broker.send('\n');
      await until(() => broker.received.length > before);
    } finally {
      Date.now = now;
    }
    expect(broker.received.slice(before)).toEqual(['\n']);
    expect(connection.lastHeardAt).toBeGreaterThan(now() + 5000);
    await connection.close(0);
  });

  it('ends when the broker is silent, also when the clock is set back meanwhile', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
    try {
      const connection = await connected();
      vi.setSystemTime(Date.now() - 3_600_000);
      for (let seconds = 0; seconds < 40; seconds += 5) vi.advanceTimersByTime(5000);
      expect((await connection.ended).failure).toBe('lost');
      // Meanwhile it has sent its own.
      await until(() => broker.received.filter((frame) => frame === '\n').length >= 3);
    } finally {
      vi.useRealTimers();
    }
  });

  it('of a broker that sends no heartbeats is not taken for dead', async () => {
    const dialled = dial();
    await broker.frame('CONNECT');
    broker.send('CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0');
    const connection = await dialled;
    const { now } = Date;
    try {
      Date.now = () => now() + 3_600_000;
      expect(connection.lastHeardAt).toBeGreaterThan(now() + 3_500_000);
    } finally {
      Date.now = now;
    }
    await connection.close(0);
  });

  it('sends frames as binary where that is asked for', async () => {
    const connection = await connected({ binaryFrames: true });
    let binary: boolean | undefined;
    broker.sockets[0]!.on('message', (_data, isBinary) => (binary = isBinary));
    await consuming(connection);
    expect(binary).toBe(true);
    await connection.close(0);
  });

  it('reads where there is no TextDecoder, puts none there, and a header that is no UTF-8 breaks nothing', async () => {
    const { TextDecoder: decoder, TextEncoder: encoder } = globalThis;
    Reflect.deleteProperty(globalThis, 'TextDecoder');
    Reflect.deleteProperty(globalThis, 'TextEncoder');
    try {
      const connection = await connected();
      expect(['TextDecoder' in globalThis, 'TextEncoder' in globalThis]).toEqual([false, false]);
      const deliveries = await consuming(connection);
      const start = `MESSAGE\nsubscription:${await subscription()}\nack:1\n`;
      const bad = Buffer.from([0xe2, 0x9c, 0x93, 0xff, 0x25, 0xc0, 0x80, 0xe2, 0x9c]);
      broker.send(Buffer.concat([Buffer.from(`${start}x-one:`), bad, Buffer.from('\n\nx\0')]));
      await until(() => deliveries.length === 1);
      expect(deliveries[0]!.properties.headers['x-one']).toBe('✓\ufffd%\ufffd\ufffd\ufffd\ufffd');
      await connection.close(0);
    } finally {
      Object.assign(globalThis, { TextDecoder: decoder, TextEncoder: encoder });
    }
  });

  it('fails clearly where there is no WebSocket, and for an address that is none', async () => {
    const { WebSocket: own, ...none } = { WebSocket: globalThis.WebSocket };
    expect(none).toEqual({});
    Reflect.deleteProperty(globalThis, 'WebSocket');
    try {
      const options = {
        url: broker.url,
        vhost: 'v',
        login: 'l',
        token: 't',
        signal: new AbortController().signal,
        timeoutMs: 100,
      };
      await expect(stomp().connect(options)).rejects.toThrow('There is no WebSocket');
      const createWebSocket = () => {
        throw new SyntaxError('no address');
      };
      await expect(stomp({ createWebSocket }).connect(options)).rejects.toThrow('cannot be used');
    } finally {
      // Undefined before Node 22, where there was none to begin with.
      if (own as unknown) globalThis.WebSocket = own;
    }
  });
});
