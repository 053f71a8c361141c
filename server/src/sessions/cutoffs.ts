import { HttpProblem } from '../problem.js';
import type { CutoffStore } from '../storage/cutoffs.js';
import type { Device } from '../storage/devices.js';
import type { Identity } from './identity.js';
import { MAX_CLOCK_TOLERANCE_SECONDS } from './user-tokens.js';

/** A session's id tells when it began, so that whether it was ended can be told when its device is gone. */
export const makeSessionId = (beganAt: number, random: string): string =>
  `${beganAt.toString(36)}.${random}`;

/** In milliseconds since 1970; 0 for a text that no session was ever named by. */
export function beganAt(sessionId: string): number {
  const at = parseInt(sessionId.split('.')[0] ?? '', 36);
  return Number.isSafeInteger(at) && at > 0 ? at : 0;
}

/** The request of a session, as far as it can be too late for it. */
export interface Attempt {
  identity: Identity;
  deviceId: string;
  /** The session that is named, if any. */
  sessionId: string | undefined;
  /** Whose request it is, if that is known. */
  installationId?: string | undefined;
  /** Undefined: the request would add the device. */
  device: Device | undefined;
}

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Whether whoever issues tokens has a clock that is ahead of this server's: a token of before a revocation then
 * bears a time of after it. A token that was shown late tells less than the whole lead, so that as much is
 * assumed as is tolerated.
 */
class ClockLead {
  #seenAt = -Infinity;
  #mostMs = 0;

  note(aheadMs: number): void {
    if (aheadMs <= 0) return;
    if (this.#isOver) this.#mostMs = 0;
    // Whole, since it is added to a time that a database keeps.
    this.#mostMs = Math.max(this.#mostMs, Math.ceil(aheadMs));
    this.#seenAt = performance.now();
  }

  get #isOver(): boolean {
    return performance.now() - this.#seenAt > DAY_MS;
  }

  /** How much later than a revocation a token must have been issued, in milliseconds. */
  get marginMs(): number {
    if (this.#isOver) return 0;
    const leastMs = this.#mostMs > 1000 ? MAX_CLOCK_TOLERANCE_SECONDS * 1000 : 1000;
    return Math.max(this.#mostMs + 1000, leastMs);
  }
}

/** What was ended, and who comes too late. */
export class Cutoffs {
  readonly #store: CutoffStore;
  readonly #lead = new ClockLead();

  constructor(store: CutoffStore) {
    this.#store = store;
  }

  /** @throws {HttpProblem} `token_revoked`, `token_not_yet_valid` */
  async refuseRevoked(identity: Identity): Promise<void> {
    const { issuedAt, aheadMs = 0, mostAheadMs = Infinity } = identity;
    // Also of one that is refused: it is of before a revocation when its time has come. Not by "nbf", which may be
    // of later on purpose.
    this.#lead.note(issuedAt - Date.now());
    if (aheadMs > mostAheadMs) {
      const retryAfterSeconds = Math.ceil((aheadMs - mostAheadMs) / 1000);
      throw new HttpProblem('token_not_yet_valid', undefined, { retryAfterSeconds });
    }
    const whole = await this.#store.findWhole(identity.userId);
    if (whole !== undefined) this.#refuseOlder(identity, whole.tokensBefore);
  }

  #refuseOlder({ issuedAt }: Identity, tokensBefore: number): void {
    // Of a revocation that is over, this server may have learned of the lead only now.
    if (issuedAt < tokensBefore + this.#lead.marginMs) {
      throw new HttpProblem('token_revoked');
    }
  }

  /**
   * @returns the earliest moment at which a session of this device may begin.
   * @throws {HttpProblem} `session_ended`, `token_revoked`
   */
  async admit(attempt: Attempt): Promise<number> {
    const { identity, deviceId, sessionId, installationId, device } = attempt;
    let earliest = 0;
    for (const cutoff of await this.#store.listOf(identity.userId)) {
      const isOwn = cutoff.deviceId === undefined || cutoff.deviceId === deviceId;
      // Whoever holds a token of a revoked device could come back as a device that is new.
      if (isOwn || device === undefined) this.#refuseOlder(identity, cutoff.tokensBefore);
      if (!isOwn) continue;
      const isOver = sessionId !== undefined && beganAt(sessionId) < cutoff.sessionsBefore;
      // Sent before the logout, it was overtaken by it.
      const isLate = installationId !== undefined && installationId === cutoff.installationId;
      if (isOver || isLate) throw new HttpProblem('session_ended');
      earliest = Math.max(earliest, cutoff.sessionsBefore);
    }
    return earliest;
  }

  /**
   * Ends the sessions of these devices, and refuses the tokens of before.
   * @param deviceId undefined: all devices, those that are not known included.
   * @param ending `tokens`: whether those of before are refused. `installationId`: whose requests come too late.
   * @returns when a token must have been issued to be good again, by a clock that is right; 0 when tokens stay as
   *   they are.
   */
  async raise(
    userId: string,
    deviceId: string | undefined,
    devices: Device[],
    { tokens, installationId }: { tokens: boolean; installationId?: string | undefined },
  ): Promise<number> {
    const now = Date.now();
    // Later than any session that is over, also if it began in this millisecond or the clock went back.
    const sessionsBefore = Math.max(
      now,
      ...devices.map(({ session_id: sessionId }) => beganAt(sessionId ?? '') + 1),
    );
    // Tokens tell the second of their issue: those of this second may be from before and are refused.
    const nextSecond = tokens ? (Math.floor(now / 1000) + 1) * 1000 : 0;
    const tokensBefore = tokens ? nextSecond + this.#lead.marginMs : 0;
    await this.#store.raise(userId, {
      deviceId,
      sessionsBefore,
      tokensBefore,
      installationId,
    });
    return nextSecond;
  }
}
