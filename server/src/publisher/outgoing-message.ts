/** One message as it goes to the broker. */
export interface OutgoingMessage {
  exchange: string;
  routingKey: string;
  messageId: string;
  type: string;
  contentType: string;
  durable: boolean;
  /** The broker returns what it finds no queue for. */
  mandatory: true;
  /** Milliseconds, as AMQP wants it: a string. */
  expiration?: string;
  correlationId?: string;
  /** Tells two attempts to send one message apart; of the channel's own. */
  appId?: string;
  /** `BCC` holds a list of keys, which the broker takes out before it hands the message on. */
  headers?: Record<string, unknown>;
}
