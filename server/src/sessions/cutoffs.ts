import { HttpProblem } from '../problem.js';
import type { CutoffStore } from '../storage/cutoffs.js';
import type { Device } from '../storage/devices.js';
import type { Identity } from './identity.js';

/** A session's id tells when it began, so that whether it was ended can be told when its device is gone. */
export const makeSessionId = (beganAt: number, random: string): string =>
  `${beganAt.toString(36)}.${random}`;

const beganAt = (sessionId: string): number => parseInt(sessionId.split('.')[0] ?? '', 36) || 0;

/** The request of a session, as far as it can be too late for it. */
export interface Attempt {
  identity: Identity;
  deviceId: string;
  /** The session that is named, if any. */
  sessionId: string | undefined;
  /** Undefined: the request would add the device. */
  device: Device | undefined;
}

/** What was ended, and who comes too late. */
export class Cutoffs {
  readonly #store: CutoffStore;

  constructor(store: CutoffStore) {
    this.#store = store;
  }

  /** @throws {HttpProblem} `token_revoked` */
  async refuseRevoked({ userId, issuedAt }: Identity): Promise<void> {
    const cutoffs = await this.#store.listOf(userId);
    const whole = cutoffs.find(({ deviceId }) => deviceId === undefined);
    if (whole !== undefined && issuedAt < whole.tokensBefore) {
      throw new HttpProblem('token_revoked');
    }
  }

  /**
   * @returns the earliest moment at which a session of this device may begin.
   * @throws {HttpProblem} `session_ended`, `token_revoked`
   */
  async admit({ identity, deviceId, sessionId, device }: Attempt): Promise<number> {
    let earliest = 0;
    for (const cutoff of await this.#store.listOf(identity.userId)) {
      const isOwn = cutoff.deviceId === undefined || cutoff.deviceId === deviceId;
      // Whoever holds a token of a revoked device could come back as a device that is new.
      if ((isOwn || device === undefined) && identity.issuedAt < cutoff.tokensBefore) {
        throw new HttpProblem('token_revoked');
      }
      if (!isOwn) continue;
      if (sessionId !== undefined && beganAt(sessionId) < cutoff.sessionsBefore) {
        throw new HttpProblem('session_ended');
      }
      earliest = Math.max(earliest, cutoff.sessionsBefore);
    }
    return earliest;
  }

  /**
   * Ends the sessions of these devices, and refuses the tokens of before.
   * @param deviceId undefined: all devices, those that are not known included.
   * @returns when a token must have been issued to be good again; 0 when tokens stay as they are.
   */
  async raise(
    userId: string,
    deviceId: string | undefined,
    devices: Device[],
    { tokens }: { tokens: boolean },
  ): Promise<number> {
    const now = Date.now();
    // Later than any session that is over, also if it began in this millisecond or the clock went back.
    const sessionsBefore = Math.max(
      now,
      ...devices.map(({ session_id: sessionId }) => beganAt(sessionId ?? '') + 1),
    );
    // Tokens tell the second of their issue: those of this second may be from before and are refused.
    const tokensBefore = tokens ? (Math.floor(now / 1000) + 1) * 1000 : 0;
    await this.#store.raise(userId, { deviceId, sessionsBefore, tokensBefore });
    return tokensBefore;
  }
}
