import type { Connections } from '../broker/connections.js';
import type { Provisioner } from '../broker/provisioner.js';
import { HttpProblem } from '../problem.js';
import { mailboxesOf, UNCLAIMED, type Device } from '../storage/devices.js';
import type { ExpiredDeviceStore } from '../storage/expired-devices.js';
import type { Endings } from './endings.js';

export interface RetirementOptions {
  expired: ExpiredDeviceStore;
  connections: Pick<Connections, 'areKnown' | 'isOnline'>;
  provisioner: Pick<Provisioner, 'stat'>;
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
    const { connections } = this.#options;
    const absent: { device: Device; seenAt: number }[] = [];
    for (const device of devices) {
      if (device.device_id === UNCLAIMED || (await connections.isOnline(device.queue))) continue;
      absent.push({ device, seenAt: device.last_seen_at ?? device.created_at });
    }
    const chosen = await leastMissed(absent, Date.now(), ({ device }) => this.#hasMail(device));
    return chosen?.device;
  }

  /**
   * The queue itself is asked: before RabbitMQ 4 the management API tells only of all queues together, and a client
   * that is a new device each time has it asked again and again. A classic queue takes the question for a use of it
   * and expires later, but a device that is passed over for its mail is the first to go when that has expired.
   */
  async #hasMail(device: Device): Promise<boolean> {
    try {
      for (const queue of mailboxesOf(device)) {
        if (((await this.#options.provisioner.stat(queue))?.ready ?? 0) > 0) return true;
      }
      return false;
    } catch (error) {
      // Its node may be down; what it holds comes back with it.
      if (error instanceof HttpProblem) return true;
      throw error;
    }
  }
}

/**
 * Of devices that are not connected. Times are milliseconds since 1970.
 * @param hasMail asked of as few as will do.
 */
export async function leastMissed<Candidate extends { seenAt: number }>(
  candidates: Candidate[],
  now: number,
  hasMail: (candidate: Candidate) => Promise<boolean>,
): Promise<Candidate | undefined> {
  const bySeen = [...candidates].sort((a, b) => a.seenAt - b.seenAt);
  const isRecent = ({ seenAt }: Candidate): boolean => seenAt > now - RECENT_MS;
  for (const group of [bySeen.filter((one) => !isRecent(one)), bySeen.filter(isRecent)]) {
    for (const candidate of group) if (!(await hasMail(candidate))) return candidate;
    if (group[0] !== undefined) return group[0];
  }
  return undefined;
}
