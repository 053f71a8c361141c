import { Client, type IFrame, type IMessage, type StompHeaders } from '@stomp/stompjs';
import {
  TransportError,
  type ConnectOptions,
  type Delivery,
  type DeliveryProperties,
  type Transport,
  type TransportConnection,
} from './transport.js';

const HEARTBEAT_MS = 10_000;
const SUBPROTOCOLS = ['v12.stomp', 'v11.stomp'];

export interface StompOptions {
  /** Makes the socket. Default: the environment's `WebSocket`. Node has none before version 22. */
  createWebSocket?: (url: string, protocols: string[]) => WebSocket;
  /**
   * Sends frames as binary. React Native cuts text frames at the NUL byte that ends each of them.
   * Default false.
   */
  binaryFrames?: boolean;
}

/** STOMP over WebSocket: for browsers and React Native. */
export function stomp(options: StompOptions = {}): Transport {
  return { name: 'stomp', connect: (target) => connect(target, options) };
}

let connections = 0;

function connect(target: ConnectOptions, options: StompOptions): Promise<TransportConnection> {
  return new Promise((resolve, reject) => {
    const { binaryFrames = false } = options;
    const socket = openSocket(target.url, options);
    // Until stompjs sets its own: in Node an error that nobody listens to ends the process.
    socket.onerror = () => undefined;
    const client = new Client({
      webSocketFactory: () => socket,
      connectHeaders: { login: target.login, passcode: target.token, host: target.vhost },
      // Retrying is the SDK's: stompjs knows neither jitter nor errors that end it.
      reconnectDelay: 0,
      connectionTimeout: target.timeoutMs,
      heartbeatIncoming: HEARTBEAT_MS,
      heartbeatOutgoing: HEARTBEAT_MS,
      // A socket that lost its network waits long for a close that never comes.
      discardWebsocketOnCommFailure: true,
      forceBinaryWSFrames: binaryFrames,
    });
    let end: (error: TransportError) => void = () => undefined;
    const ended = new Promise<TransportError>((resolveEnded) => {
      end = resolveEnded;
    });
    const finish = (error: TransportError): void => {
      target.signal.removeEventListener('abort', giveUp);
      end(error);
      // Too late to matter once it has been resolved.
      reject(error);
      void client.deactivate({ force: true });
      // stompjs does not know of the socket before its own first turn.
      socket.close();
    };
    const giveUp = (): void => {
      finish(new TransportError('lost', 'The attempt was given up.'));
    };
    client.onStompError = (frame) => {
      // The broker does not always close the socket itself.
      finish(fromErrorFrame(frame));
    };
    client.onWebSocketClose = () => {
      finish(new TransportError('lost', 'The connection was lost.'));
    };
    client.onConnect = () => {
      target.signal.removeEventListener('abort', giveUp);
      resolve(new StompConnection(client, ended));
    };
    target.signal.addEventListener('abort', giveUp, { once: true });
    if (target.signal.aborted) giveUp();
    else client.activate();
  });
}

/**
 * Made here and not by stompjs, which would let what the constructor throws go unhandled.
 * @throws {TransportError}
 */
function openSocket(url: string, { createWebSocket }: StompOptions): WebSocket {
  if (createWebSocket === undefined && !('WebSocket' in globalThis)) {
    const advice = 'use amqp(), or give stomp() a createWebSocket';
    throw new TransportError('lost', `There is no WebSocket in this environment: ${advice}.`);
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
function fromErrorFrame(frame: IFrame): TransportError {
  const summary = frame.headers['message'] ?? '';
  const text = `${summary} ${frame.body}`.toLowerCase();
  if (/bad connect|access.refused|authentication/.test(text)) {
    return new TransportError('refused', `The broker refused the login: ${summary}`);
  }
  if (/cancelled subscription|not.found/.test(text)) {
    return new TransportError('cancelled', `The queue is gone: ${summary}`);
  }
  return new TransportError('lost', `The broker reported: ${summary}`);
}

class StompConnection implements TransportConnection {
  readonly ended: Promise<TransportError>;
  readonly #client: Client;
  // In every subscription's id: the broker does not tell an ack of an older connection apart.
  readonly #number = ++connections;
  #queues = 0;
  #open = true;

  constructor(client: Client, ended: Promise<TransportError>) {
    this.#client = client;
    this.ended = ended;
    void ended.then(() => {
      this.#open = false;
    });
  }

  get isOpen(): boolean {
    return this.#open && this.#client.connected;
  }

  consume(
    queue: string,
    prefetch: number,
    onDelivery: (delivery: Delivery) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      void this.ended.then(reject);
      const receipt = `subscribed-${String(this.#number)}-${String(++this.#queues)}`;
      // Comes even when the broker refuses, but an ERROR comes first or follows, and ends all.
      this.#client.watchForReceipt(receipt, () => {
        resolve();
      });
      this.#client.subscribe(
        // Not /queue/NAME, which declares.
        `/amq/queue/${queue}`,
        (message) => {
          onDelivery(this.#toDelivery(message));
        },
        {
          id: `${String(this.#number)}-${String(this.#queues)}`,
          ack: 'client-individual',
          'prefetch-count': String(prefetch),
          receipt,
        },
      );
    });
  }

  async close(timeoutMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    // Sends DISCONNECT and waits for its receipt: whatever was acked before has then arrived.
    await Promise.race([this.#client.deactivate().catch(() => undefined), late]);
    clearTimeout(timer);
    this.#open = false;
    void this.#client.deactivate({ force: true });
  }

  #toDelivery(message: IMessage): Delivery {
    return {
      body: message.binaryBody,
      properties: toProperties(message.headers),
      redelivered: message.headers['redelivered'] === 'true',
      ack: () =>
        this.#settle(() => {
          message.ack();
        }),
      // Without requeue:false it would come again at once.
      reject: () =>
        this.#settle(() => {
          message.nack({ requeue: 'false' });
        }),
    };
  }

  #settle(send: () => void): boolean {
    if (!this.isOpen) return false;
    send();
    return true;
  }
}

function toProperties(headers: StompHeaders): DeliveryProperties {
  const properties: DeliveryProperties = { headers: {} };
  const messageId = headers['amqp-message-id'];
  const { type, timestamp } = headers;
  const correlationId = headers['correlation-id'];
  const contentType = headers['content-type'];
  if (messageId !== undefined) properties.messageId = messageId;
  if (type !== undefined) properties.type = type;
  // In seconds on the wire.
  if (timestamp !== undefined) properties.timestamp = Number(timestamp) * 1000;
  if (correlationId !== undefined) properties.correlationId = correlationId;
  if (contentType !== undefined) properties.contentType = contentType;
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith('x-')) properties.headers[name] = value;
  }
  return properties;
}
