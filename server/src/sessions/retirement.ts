import type { Connections } from '../broker/connections.js';
import type { Depths } from '../mailboxes/depths.js';
import { HttpProblem } from '../problem.js';
import { mailboxesOf, UNCLAIMED, type Device } from '../storage/devices.js';
import type { ExpiredDeviceStore } from '../storage/expired-devices.js';
import type { Endings } from './endings.js';

export interface RetirementOptions {
  expired: ExpiredDeviceStore;
  connections: Connections;
  depths: Depths;
  endings: Endings;
}

/** A device that was seen since may be somebody's who has only closed the lid. In milliseconds. */
const RECENT_MS = 24 * 60 * 60 * 1000;

/**
 * Makes room for a new device of a user who has as many as are allowed. Browsers whose storage was cleared,
 * private windows and phones that were replaced never come back, and nobody logs them out.
 */
export class Retirement {
  readonly #options: RetirementOptions;

  constructor(options: RetirementOptions) {
    this.#options = options;
  }

  /**
   * Ends the device that will be missed least. Never one that is connected. Of the others, before those that were
   * seen within a day, those that were not; before those with mail, those without; then the one that was not
   * seen for longest. Should it come back, it is told that it has missed something. By whoever holds the
   * user's lock.
   * @returns whether there was one. @throws {HttpProblem} `broker_unavailable`
   */
  async makeRoom(devices: Device[]): Promise<boolean> {
    const { connections, expired, endings } = this.#options;
    if (!(await connections.areKnown())) {
      throw new HttpProblem('broker_unavailable', 'Which devices are connected is not known yet.');
    }
    const device = await this.#choose(devices);
    if (device === undefined) return false;
    await endings.finish([device], 'device_retired');
    await expired.remember(device, Date.now());
    return true;
  }

  async #choose(devices: Device[]): Promise<Device | undefined> {
    const { connections, depths } = this.#options;
    const absent: Device[] = [];
    for (const device of devices) {
      if (device.device_id === UNCLAIMED || (await connections.isOnline(device.queue))) continue;
      absent.push(device);
    }
    const waiting = await depths.of(absent);
    const candidates = absent.map((device) => ({
      device,
      seenAt: device.last_seen_at ?? device.created_at,
      hasMail: mailboxesOf(device).some((queue) => (waiting.get(queue) ?? 0) > 0),
    }));
    return leastMissed(candidates, Date.now())?.device;
  }
}

/** Of devices that are not connected. Times are milliseconds since 1970. */
export function leastMissed<Candidate extends { seenAt: number; hasMail: boolean }>(
  candidates: Candidate[],
  now: number,
): Candidate | undefined {
  const isRecent = ({ seenAt }: Candidate): number => Number(seenAt > now - RECENT_MS);
  const [first] = [...candidates].sort(
    (a, b) =>
      isRecent(a) - isRecent(b) || Number(a.hasMail) - Number(b.hasMail) || a.seenAt - b.seenAt,
  );
  return first;
}
