import { AT_HEADER, MISSED_TYPE } from '@warren/protocol';
import type { Publisher } from '../publisher/index.js';
import type { DeviceStore } from '../storage/devices.js';
import type { Failure } from '../storage/outcomes.js';

export interface LossesOptions {
  devices: DeviceStore;
  publisher: Publisher;
}

/** A message that a mailbox has given up. */
export interface LostMessage {
  queue: string;
  reason: Failure;
  /** Whether its sender had said how long it may wait. */
  hadTtl: boolean;
  headers: Record<string, unknown>;
}

interface Missed {
  since: number;
  isForGood: boolean;
}

/** Remembers which devices have lost messages out of their mailboxes, so that they recover them. */
export class Losses {
  readonly #options: LossesOptions;

  constructor(options: LossesOptions) {
    this.#options = options;
  }

  async note(lost: LostMessage[]): Promise<void> {
    const { devices } = this.#options;
    const now = Date.now();
    for (const [queue, missed] of missedOf(lost, now)) {
      if (await devices.setMissed(queue, { now, ...missed })) await this.#tell(queue);
    }
  }

  /** A client that is connected begins at once; any other at its next session. */
  async #tell(queue: string): Promise<void> {
    const { devices, publisher } = this.#options;
    const device = await devices.findByQueue(queue);
    if (device === undefined || device.session_id === null) return;
    const to = { device: { user: device.user_id, device: device.device_id } };
    await publisher.send(to, MISSED_TYPE, {}, { delivery: 'live' });
  }
}

/** Of each mailbox, when the first one was sent, and whether the history may not have one of them. */
function missedOf(lost: LostMessage[], now: number): Map<string, Missed> {
  const all = new Map<string, Missed>();
  for (const { queue, reason, hadTtl, headers } of lost) {
    const isStored = headers[AT_HEADER] !== undefined;
    const isMissed = reason === 'overflowed' || (reason === 'expired' && isStored && !hadTtl);
    if (!isMissed) continue;
    const sentAt = Number(headers[AT_HEADER]);
    const { since, isForGood } = all.get(queue) ?? { since: now, isForGood: false };
    all.set(queue, {
      since: Number.isSafeInteger(sentAt) ? Math.min(sentAt, since) : since,
      isForGood: isForGood || !isStored,
    });
  }
  return all;
}
