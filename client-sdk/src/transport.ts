/** Properties of a message as the broker hands them over; all of them may be missing. */
export interface DeliveryProperties {
  messageId?: string;
  type?: string;
  /** Milliseconds since 1970. */
  timestamp?: number;
  correlationId?: string;
  contentType?: string;
  /** The headers whose names begin with `x-`. */
  headers: Record<string, string>;
}

/** One message on one connection. */
export interface Delivery {
  body: Uint8Array;
  properties: DeliveryProperties;
  redelivered: boolean;
  /** Whether it comes from the history. Default: from the broker. */
  recovered?: boolean;
  /** Tells the broker that it is done. False when the connection is gone: it will come again. */
  ack: () => boolean;
  /** Sends it to the dead letters. False when the connection is gone. */
  reject: () => boolean;
}

/**
 * Why a connection could not be made, or ended.
 * - `refused`: the broker does not accept the token. - `cancelled`: a queue is gone.
 * - `lost`: anything that the next attempt may cure.
 */
export type TransportFailure = 'refused' | 'cancelled' | 'lost';

export class TransportError extends Error {
  override readonly name = 'TransportError';
  constructor(
    readonly failure: TransportFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Every transport asks the broker for a heartbeat this often, in milliseconds. */
export const HEARTBEAT_MS = 10_000;

export interface ConnectOptions {
  url: string;
  vhost: string;
  login: string;
  token: string;
  /** Gives up the attempt. */
  signal: AbortSignal;
  timeoutMs: number;
}

export interface TransportConnection {
  /** Resolves once, with why, when the connection is gone: also after `close()`. Never rejects. */
  readonly ended: Promise<TransportError>;
  /** Whether acks still reach the broker. */
  readonly isOpen: boolean;
  /**
   * When the broker was last heard of, its heartbeats included, in milliseconds since 1970: whether a
   * connection has outlived the device's sleep.
   */
  readonly lastHeardAt: number;
  /**
   * Consumes a queue; every delivery is acked or rejected by its own methods.
   * @throws {TransportError}
   */
  consume: (
    queue: string,
    prefetch: number,
    onDelivery: (delivery: Delivery) => void,
  ) => Promise<void>;
  /** Hands the broker a fresh token, where the protocol can. */
  updateToken?: (token: string) => Promise<void>;
  /**
   * Lets what was acked reach the broker, and closes. Never rejects; ends within `timeoutMs`; 0 closes
   * before it returns, for an app that is about to be suspended.
   */
  close: (timeoutMs: number) => Promise<void>;
}

/** A way to the broker. */
export interface Transport {
  /** Which of the grant's endpoints it uses. */
  readonly name: 'stomp' | 'amqp';
  /** @throws {TransportError} @throws {TerminalError} when no attempt can succeed here. */
  connect: (options: ConnectOptions) => Promise<TransportConnection>;
}
