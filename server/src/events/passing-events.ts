import { encodeId, type PassingEvent, type Stats, type Trace } from '@warren/protocol';
import { EVENTS } from '@warren/rabbitmq';
import { uuidv7 } from 'uuidv7';
import type { ConfirmChannel } from '../publisher/confirm-channel.js';

/** Events that nobody has to hear: they are told once, and whoever does not listen then has missed them. */
export class PassingEvents {
  constructor(private readonly channel: ConfirmChannel) {}

  /** @returns whether anybody listens. */
  stats(stats: Stats): Promise<boolean> {
    return this.#tell('stats', { event: 'stats', at: new Date().toISOString(), ...stats });
  }

  /** @returns whether anybody listens. */
  trace(trace: Trace, at = Date.now()): Promise<boolean> {
    const key = `trace.${encodeId(trace.user)}`;
    return this.#tell(key, { event: 'trace', at: new Date(at).toISOString(), ...trace });
  }

  async #tell(routingKey: string, event: PassingEvent): Promise<boolean> {
    // They are not worth waiting for a broker.
    if (this.channel.state !== 'ready') return false;
    const message = {
      exchange: EVENTS,
      routingKey,
      messageId: uuidv7(),
      type: event.event,
      contentType: 'application/json',
      durable: false,
      mandatory: true as const,
    };
    return this.channel.publish(message, Buffer.from(JSON.stringify(event), 'utf8')).then(
      (routing) => routing === 'routed',
      () => false,
    );
  }
}
