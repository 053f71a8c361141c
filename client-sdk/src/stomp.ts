import { Parser } from '@stomp/stompjs';
import { TerminalError } from './errors.js';
import {
  HEARTBEAT_MS,
  TransportError,
  type ConnectOptions,
  type Delivery,
  type DeliveryProperties,
  type Transport,
  type TransportConnection,
} from './transport.js';
import { Silence } from './timing.js';
import { textDecoder, toBytes, withTextCodec } from './utf8.js';

const SUBPROTOCOLS = ['v12.stomp'];
const SOCKET_OPEN = 1;

export interface StompOptions {
  /** Makes the socket. Default: the environment's `WebSocket`. Node has none before version 22. */
  createWebSocket?: (url: string, protocols: string[]) => WebSocket;
  /**
   * Sends frames as binary. React Native cuts text frames at the NUL byte that ends each of them.
   * Default: true there, else false.
   */
  binaryFrames?: boolean;
}

/** STOMP 1.2 over WebSocket: for browsers and React Native. */
export function stomp(options: StompOptions = {}): Transport {
  return {
    name: 'stomp',
    // In a function that is async, so that a throw becomes a rejection.
    connect: async (target) => new StompConnection(target, options).connected,
  };
}

type Headers = Partial<Record<string, string>>;
interface Frame {
  command: string;
  headers: Headers;
  body: Uint8Array;
}

let connections = 0;

/**
 * One session on one socket. Frames are read by @stomp/stompjs, whose own client is not used: it has no
 * error that ends a retry, hides the socket's death behind timers that a hidden page slows down, and
 * weighs four times as much.
 */
class StompConnection implements TransportConnection {
  readonly connected: Promise<StompConnection>;
  readonly ended: Promise<TransportError>;
  readonly #socket: WebSocket;
  readonly #options: StompOptions;
  readonly #target: ConnectOptions;
  // In every subscription's id: the broker does not tell an ack of an older connection apart.
  readonly #number = ++connections;
  readonly #receipts = new Map<string, () => void>();
  readonly #consumers = new Map<string, (delivery: Delivery) => void>();
  #open = false;
  #opened: () => void = () => undefined;
  #end: (error: TransportError) => void = () => undefined;
  #timer: ReturnType<typeof setInterval>;
  #heardAt = Date.now();
  #sentAt = 0;
  /** False: the broker sends no heartbeats, so that its silence says nothing. */
  #isHeard = false;

  constructor(target: ConnectOptions, options: StompOptions) {
    this.#target = target;
    this.#options = options;
    this.#socket = openSocket(target.url, options);
    this.#timer = setTimeout(() => {
      this.#finish(new TransportError('lost', 'The broker did not answer in time.'));
    }, target.timeoutMs);
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.connected = new Promise((resolve, reject) => {
      this.#opened = () => {
        resolve(this);
      };
      void this.ended.then(reject);
    });
    this.#listen();
    target.signal.addEventListener('abort', this.#giveUp);
    if (target.signal.aborted) this.#giveUp();
  }

  get isOpen(): boolean {
    return this.#open && this.#socket.readyState === SOCKET_OPEN;
  }

  get lastHeardAt(): number {
    return this.#isHeard ? this.#heardAt : Date.now();
  }

  consume(
    queue: string,
    prefetch: number,
    onDelivery: (delivery: Delivery) => void,
  ): Promise<void> {
    const id = `${String(this.#number)}-${String(this.#consumers.size)}`;
    this.#consumers.set(id, onDelivery);
    // Not /queue/NAME, which declares. The receipt comes even when the broker refuses, but an ERROR
    // comes first or follows, and ends all.
    return this.#request('SUBSCRIBE', {
      destination: `/amq/queue/${queue}`,
      id,
      ack: 'client-individual',
      'prefetch-count': String(prefetch),
    });
  }

  async close(timeoutMs: number): Promise<void> {
    if (this.isOpen && timeoutMs > 0) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, timeoutMs);
      });
      // Whatever was acked before has arrived when the receipt comes.
      await Promise.race([this.#request('DISCONNECT', {}).catch(() => undefined), late]);
      clearTimeout(timer);
    }
    this.#finish(new TransportError('lost', 'The connection was closed.'));
  }

  #listen(): void {
    const socket = this.#socket;
    const onFrame: ConstructorParameters<typeof Parser>[0] = ({ command, headers, binaryBody }) => {
      this.#receive({
        command: command ?? '',
        headers: toHeaders(headers),
        body: binaryBody ?? new Uint8Array(),
      });
    };
    const parser = withTextCodec(() => new Parser(onFrame, () => undefined));
    believeLastLength(parser);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      const { login, token: passcode, vhost: host } = this.#target;
      const beat = `${String(HEARTBEAT_MS)},${String(HEARTBEAT_MS)}`;
      const version = { 'accept-version': '1.2', 'heart-beat': beat };
      this.#send('CONNECT', { login, passcode, host, ...version });
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      this.#heardAt = Date.now();
      parser.parseChunk(data);
      // A hidden page's timers run once a minute at worst; what the broker sends gets through.
      this.#beat();
    };
    socket.onclose = ({ code }) => {
      this.#finish(new TransportError('lost', `The connection was lost (${String(code)}).`));
    };
    // In Node an error that nobody listens to ends the process.
    socket.onerror = () => undefined;
  }

  #receive(frame: Frame): void {
    const { command, headers } = frame;
    if (command === 'MESSAGE') {
      this.#consumers.get(headers['subscription'] ?? '')?.(this.#toDelivery(frame));
    } else if (command === 'RECEIPT') {
      const id = headers['receipt-id'] ?? '';
      this.#receipts.get(id)?.();
      this.#receipts.delete(id);
    } else if (command === 'CONNECTED') {
      this.#start(headers);
    } else if (command === 'ERROR') {
      // The broker does not always close the socket itself.
      this.#finish(fromErrorFrame(frame));
    }
  }

  #start(headers: Headers): void {
    this.#target.signal.removeEventListener('abort', this.#giveUp);
    clearTimeout(this.#timer);
    this.#isHeard = Number(headers['heart-beat']?.split(',')[0] ?? 0) > 0;
    const silence = new Silence(
      () => Date.now(),
      () => this.lastHeardAt,
    );
    this.#timer = setInterval(() => {
      this.#beat();
      // Late timers have no say: the wall clock has.
      if (silence.ms > 2 * HEARTBEAT_MS) {
        this.#finish(new TransportError('lost', 'The broker has gone silent.'));
      }
    }, HEARTBEAT_MS / 2);
    this.#open = true;
    this.#opened();
  }

  #beat(): void {
    const sinceMs = Date.now() - this.#sentAt;
    // Also when the clock was set back.
    const isDue = sinceMs < 0 || sinceMs >= HEARTBEAT_MS * 0.45;
    if (this.isOpen && isDue) this.#transmit('\n');
  }

  /** Resolves with the broker's receipt. @throws {TransportError} */
  #request(command: string, headers: Headers): Promise<void> {
    return new Promise((resolve, reject) => {
      void this.ended.then(reject);
      const receipt = `${command}-${String(this.#receipts.size)}`;
      this.#receipts.set(receipt, resolve);
      this.#send(command, { ...headers, receipt });
    });
  }

  #send(command: string, headers: Headers): void {
    // RabbitMQ, like STOMP 1.0, reads the headers of CONNECT as they are.
    const escape = command === 'CONNECT' ? (value: string) => value : escapeValue;
    const lines = Object.entries(headers).map(
      ([name, value]) => `${name}:${escape(String(value))}\n`,
    );
    this.#transmit(`${command}\n${lines.join('')}\n\0`);
  }

  #transmit(text: string): void {
    const { binaryFrames = isReactNative() } = this.#options;
    this.#sentAt = Date.now();
    this.#socket.send(binaryFrames ? toBytes(text) : text);
  }

  #toDelivery({ headers, body }: Frame): Delivery {
    const settle = (command: string, more: Headers): boolean => {
      if (this.isOpen) this.#send(command, { id: headers['ack'] ?? '', ...more });
      return this.isOpen;
    };
    return {
      body,
      properties: toProperties(headers),
      redelivered: headers['redelivered'] === 'true',
      ack: () => settle('ACK', {}),
      // Without requeue:false it would come again at once.
      reject: () => settle('NACK', { requeue: 'false' }),
    };
  }

  readonly #giveUp = (): void => {
    this.#finish(new TransportError('lost', 'The attempt was given up.'));
  };

  /** Idempotent: what comes second is too late to matter. */
  #finish(error: TransportError): void {
    this.#open = false;
    clearInterval(this.#timer);
    this.#target.signal.removeEventListener('abort', this.#giveUp);
    // A socket that lost its network waits long for a close that never comes; nobody else has to.
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#end(error);
  }
}

const isReactNative = (): boolean =>
  (globalThis as Partial<typeof globalThis>).navigator?.product === 'ReactNative';

/** @throws {TerminalError} @throws {TransportError} */
function openSocket(url: string, { createWebSocket }: StompOptions): WebSocket {
  if (createWebSocket === undefined && typeof WebSocket === 'undefined') {
    const why = 'There is no WebSocket here: use amqp(), or give stomp() a createWebSocket.';
    throw new TerminalError('no_websocket', why);
  }
  try {
    return createWebSocket === undefined
      ? new WebSocket(url, SUBPROTOCOLS)
      : createWebSocket(url, SUBPROTOCOLS);
  } catch (error) {
    // An address that is none; or ws: on a page that came by https:.
    throw new TransportError('lost', 'The broker’s address cannot be used here.', { cause: error });
  }
}

/**
 * RabbitMQ's ERROR frames are told apart by their text alone. Before 3.10.14 Web-STOMP closes the
 * socket without one, so that a refusal looks like a lost network.
 */
function fromErrorFrame({ headers, body }: Frame): TransportError {
  const summary = headers['message'] ?? '';
  const text = `${summary} ${textDecoder().decode(body)}`.toLowerCase();
  // As many connections as the vhost may have, or a vhost that is starting: it passes.
  if (/virtual host .* access denied/.test(text)) {
    return new TransportError('lost', 'The broker takes no more connections now.');
  }
  if (/bad connect|access.refused|authentication|credential expired/.test(text)) {
    return new TransportError('refused', `The broker refused the login: ${summary}`);
  }
  if (/cancelled subscription|not.found/.test(text)) {
    return new TransportError('cancelled', `The queue is gone: ${summary}`);
  }
  return new TransportError('lost', `The broker reported: ${summary}`);
}

/** Of the parser, what its types keep to themselves; another version may have it no more. */
interface ParserInside {
  _results: { headers: [name: string, value: string][] };
  _setupCollectBody?: () => void;
}

/**
 * RabbitMQ writes the length of a body behind all other headers, and none of a body that is empty. Of those that a
 * publisher has put among a message's headers it takes one out, not a second. The parser believes the first that it
 * finds, and would wait for ever for what that promises.
 */
function believeLastLength(parser: Parser): void {
  const inside = parser as unknown as ParserInside;
  const collectBody = inside._setupCollectBody?.bind(parser);
  if (collectBody === undefined) return;
  inside._setupCollectBody = () => {
    const { headers } = inside._results;
    inside._results.headers = headers.filter(
      ([name], index) => name !== 'content-length' || index === headers.length - 1,
    );
    collectBody();
  };
}

const ESCAPES: Headers = { '\\': '\\\\', '\r': '\\r', '\n': '\\n', ':': '\\c' };
const UNESCAPES: Headers = { r: '\r', n: '\n', c: ':' };

const escapeValue = (value: string): string =>
  value.replace(/[\\\r\n:]/g, (character) => ESCAPES[character] ?? '');

/** Of a header that comes twice, the first counts (STOMP 1.2). */
function toHeaders(pairs: string[][]): Headers {
  const headers: Headers = {};
  for (const [name = '', value = ''] of pairs) {
    headers[name] ??= value.replace(/\\(.)/g, (_, code: string) => UNESCAPES[code] ?? code);
  }
  return headers;
}

const PROPERTIES = [
  ['messageId', 'amqp-message-id'],
  ['type', 'type'],
  ['correlationId', 'correlation-id'],
  ['contentType', 'content-type'],
] as const;

function toProperties(headers: Headers): DeliveryProperties {
  const properties: DeliveryProperties = { headers: {} };
  const { timestamp } = headers;
  // In seconds on the wire.
  if (timestamp !== undefined) properties.timestamp = Number(timestamp) * 1000;
  for (const [property, name] of PROPERTIES) {
    const value = headers[name];
    if (value !== undefined) properties[property] = value;
  }
  for (const name in headers) {
    const value = headers[name];
    if (name.startsWith('x-') && value !== undefined) properties.headers[name] = value;
  }
  return properties;
}
