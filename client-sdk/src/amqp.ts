/**
 * The transport for Node and for Electron's main process. Needs `amqplib`, which comes with the package.
 *
 * @module @warren/client/amqp
 */
import {
  connect as connectAmqp,
  type Channel,
  type ChannelModel,
  type ConsumeMessage,
} from 'amqplib';
import { keepUnreadable } from '@warren/protocol/amqp';
import { Acks } from './amqp-acks.js';
import {
  HEARTBEAT_MS,
  TransportError,
  type ConnectOptions,
  type Delivery,
  type DeliveryProperties,
  type Transport,
  type TransportConnection,
} from './transport.js';

/** How often it is looked at whether the broker was heard of, in milliseconds. */
const LISTEN_MS = 1000;

/** AMQP 0-9-1: for Node and Electron's main process. */
export function amqp(): Transport {
  return { name: 'amqp', connect };
}

async function connect(target: ConnectOptions): Promise<TransportConnection> {
  if (!URL.canParse(target.url)) {
    throw new TransportError('lost', 'The broker’s address cannot be used here.');
  }
  const { protocol, hostname, port } = new URL(target.url);
  const secure = protocol === 'amqps:';
  const connecting = connectAmqp(
    {
      protocol: secure ? 'amqps' : 'amqp',
      hostname,
      port: port === '' ? (secure ? 5671 : 5672) : Number(port),
      username: target.login,
      password: target.token,
      vhost: target.vhost,
      heartbeat: HEARTBEAT_MS / 1000,
      // RabbitMQ from 4.1 on refuses less than 8192.
      frameMax: 131_072,
    },
    // Without noDelay an ack waits for the answer to the one before it (Nagle's algorithm).
    { noDelay: true, timeout: target.timeoutMs, servername: hostname },
  );
  const { signal } = target;
  let giveUp: () => void = () => undefined;
  const givenUp = new Promise<never>((_, reject) => {
    giveUp = () => {
      reject(new TransportError('lost', 'The attempt was given up.'));
    };
  });
  signal.addEventListener('abort', giveUp);
  if (signal.aborted) giveUp();
  const timer = setTimeout(giveUp, target.timeoutMs);
  const opening = connecting.then(async (model) => {
    // Its 'error' events go with 'close', which carries the same error; unlistened they would throw.
    model.on('error', () => undefined);
    keepUnreadable(model);
    return { model, channel: await model.createChannel() };
  });
  try {
    const { model, channel } = await Promise.race([opening, givenUp]);
    return new AmqpConnection(model, channel);
  } catch (error) {
    // amqplib cannot be told to give up; if it gets through after all, it is closed then.
    connecting.then(destroy, () => undefined);
    opening.catch(() => undefined);
    throw toTransportError(error);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', giveUp);
  }
}

/** Without a word to the broker, which may not answer. */
function destroy(model: ChannelModel): void {
  (model.connection as { stream?: Stream }).stream?.destroy();
}

function toTransportError(error: unknown): TransportError {
  if (error instanceof TransportError) return error;
  const text = error instanceof Error ? error.message : '';
  const { code } = Object(error) as { code?: string | number };
  const options = { cause: error };
  if (code === 403 || /ACCESS[-_]REFUSED|credential expired/i.test(text)) {
    return new TransportError('refused', 'The broker refused the login or the queue.', options);
  }
  if (code === 404 || /NOT[-_]FOUND/.test(text)) {
    return new TransportError('cancelled', 'The queue is gone.', options);
  }
  const reason = code === undefined ? '' : ` (${String(code)})`;
  const why = `The connection could not be made, or was lost${reason}.`;
  return new TransportError('lost', why, options);
}

class AmqpConnection implements TransportConnection {
  readonly ended: Promise<TransportError>;
  readonly #model: ChannelModel;
  readonly #channel: Channel;
  readonly #acks: Acks;
  #end: (error: TransportError) => void = () => undefined;
  readonly #stream: Stream | undefined;
  #open = true;
  #heardAt = Date.now();
  #bytesRead = 0;
  readonly #listening: NodeJS.Timeout;

  constructor(model: ChannelModel, channel: Channel) {
    this.#model = model;
    this.#channel = channel;
    this.#acks = new Acks(channel);
    this.#stream = (model.connection as { stream?: Stream }).stream;
    // A listener for what arrives would cost a fifth of the throughput.
    this.#listening = setInterval(() => {
      const { bytesRead = 0 } = this.#stream ?? {};
      if (bytesRead !== this.#bytesRead) this.#heardAt = Date.now();
      this.#bytesRead = bytesRead;
    }, LISTEN_MS);
    this.#listening.unref();
    this.ended = new Promise((resolve) => {
      this.#end = (error) => {
        this.#open = false;
        clearInterval(this.#listening);
        resolve(error);
      };
    });
    channel.on('error', (error: unknown) => {
      this.#fail(toTransportError(error));
    });
    channel.on('close', () => {
      this.#fail(new TransportError('lost', 'The channel was closed.'));
    });
    model.on('close', (error: unknown) => {
      this.#end(toTransportError(error));
    });
  }

  get isOpen(): boolean {
    return this.#open;
  }

  get lastHeardAt(): number {
    return this.#heardAt;
  }

  async consume(
    queue: string,
    prefetch: number,
    onDelivery: (delivery: Delivery) => void,
  ): Promise<void> {
    try {
      await this.#channel.prefetch(prefetch);
      await this.#channel.consume(queue, (message) => {
        // Null: the broker cancelled the consumer, because its queue was deleted.
        if (message === null) this.#fail(new TransportError('cancelled', 'The queue is gone.'));
        else onDelivery(this.#toDelivery(message));
      });
    } catch (error) {
      throw toTransportError(error);
    }
  }

  async updateToken(token: string): Promise<void> {
    await this.#model.updateSecret(Buffer.from(token, 'utf8'), 'the session was renewed');
  }

  async close(timeoutMs: number): Promise<void> {
    const isGone = !this.#open;
    this.#open = false;
    this.#acks.flush();
    if (isGone || timeoutMs === 0) {
      this.#stream?.destroy();
      this.#end(new TransportError('lost', 'The connection was closed.'));
      return;
    }
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    // The channel first: amqplib lets a connection's close overtake acks that wait on the channel.
    const closed = this.#channel.close().then(() => this.#model.close());
    await Promise.race([closed.catch(() => undefined), late]);
    clearTimeout(timer);
    // A broker that did not answer would keep the socket, and the process, for two heartbeats more.
    this.#stream?.destroy();
    this.#end(new TransportError('lost', 'The connection was closed.'));
  }

  /** Ends a connection of which a part is lost: half a client would be a silent one. */
  #fail(error: TransportError): void {
    if (!this.#open) return;
    this.#end(error);
    void this.#model.close().catch(() => undefined);
  }

  #toDelivery(message: ConsumeMessage): Delivery {
    return {
      body: message.content,
      properties: toProperties(message),
      redelivered: message.fields.redelivered,
      ack: () =>
        this.#settle(() => {
          this.#acks.ack(message);
        }),
      reject: () =>
        this.#settle(() => {
          this.#acks.reject(message);
        }),
    };
  }

  #settle(send: () => void): boolean {
    if (!this.#open) return false;
    try {
      send();
      return true;
    } catch {
      // amqplib throws when the channel has closed a moment ago.
      return false;
    }
  }
}

/** The socket, which the library does not type. */
interface Stream {
  bytesRead: number;
  destroy: () => void;
}

// The library types the properties as `any`.
interface RawProperties {
  messageId?: string;
  type?: string;
  timestamp?: number;
  correlationId?: string;
  contentType?: string;
  headers?: Record<string, unknown>;
}

function toProperties(message: ConsumeMessage): DeliveryProperties {
  const raw = message.properties as RawProperties;
  const properties: DeliveryProperties = { headers: {} };
  if (raw.messageId !== undefined) properties.messageId = raw.messageId;
  if (raw.type !== undefined) properties.type = raw.type;
  if (raw.timestamp !== undefined) properties.timestamp = raw.timestamp * 1000;
  if (raw.correlationId !== undefined) properties.correlationId = raw.correlationId;
  if (raw.contentType !== undefined) properties.contentType = raw.contentType;
  for (const name in raw.headers) {
    const value = raw.headers[name];
    if (name.startsWith('x-') && ['string', 'number', 'boolean'].includes(typeof value)) {
      properties.headers[name] = String(value);
    }
  }
  return properties;
}
