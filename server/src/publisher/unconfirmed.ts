import type { OutgoingMessage } from './outgoing-message.js';

/** One publish between its way out and its confirm. */
export interface Sent {
  /** As it goes out. */
  message: OutgoingMessage;
  isReturned: boolean;
  /** Of all that are unconfirmed, this one alone has it. */
  key: string;
}

/** What a returned message still says of itself. */
interface Returned {
  messageId?: string | undefined;
  routingKey: string;
  appId?: string | undefined;
}

/**
 * The publishes of a channel that the broker has not confirmed yet, those included whose sender was told that their
 * outcome is unknown. A return says which message came back, not which attempt to send it, and confirms come in any
 * order. So of two attempts under way at once, the later one carries a mark: as `app_id`, which nobody else uses.
 */
export class Unconfirmed {
  readonly #sent = new Map<string, Sent>();
  #marks = 0;

  get size(): number {
    return this.#sent.size;
  }

  add(message: OutgoingMessage): Sent {
    const key = keyOf(message);
    const marked = this.#sent.has(key)
      ? { ...message, appId: `warren.${String(++this.#marks)}` }
      : message;
    const sent = { message: marked, isReturned: false, key: keyOf(marked) };
    this.#sent.set(sent.key, sent);
    return sent;
  }

  noteReturn(message: Returned): void {
    const sent = this.#sent.get(keyOf(message));
    if (sent !== undefined) sent.isReturned = true;
  }

  /** It was confirmed and is past its return, or will never be. */
  remove({ key }: Sent): void {
    this.#sent.delete(key);
  }
}

const keyOf = ({ messageId = '', routingKey, appId = '' }: Returned): string =>
  `${messageId}\n${appId}\n${routingKey}`;
