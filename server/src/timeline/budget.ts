/** What may be written down of one kind: a flood of it must not fill the disk. */
export interface BudgetLimits {
  /** Of all users together. Default: no limit. */
  perSecond?: number;
  /** Of one user. */
  perMinute: number;
}

const SECOND_MS = 1000;
const MINUTE_MS = 60_000;

/** Counts in windows of a second and a minute; what is over is left out. */
export class Budget {
  readonly #limits: BudgetLimits;
  readonly #users = new Map<string, number>();
  #count = 0;
  #second = 0;
  #minute = 0;

  constructor(limits: BudgetLimits) {
    this.#limits = limits;
  }

  /**
   * Whether one more may be written down; `full` says the first time in a minute that no more of this user may.
   * @param now milliseconds since 1970.
   */
  take(userId: string, now = Date.now()): 'allowed' | 'full' | 'left_out' {
    const second = Math.floor(now / SECOND_MS);
    if (second !== this.#second) {
      this.#second = second;
      this.#count = 0;
    }
    const minute = Math.floor(now / MINUTE_MS);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#users.clear();
    }
    const { perSecond = Infinity, perMinute } = this.#limits;
    const ofUser = this.#users.get(userId) ?? 0;
    if (ofUser > perMinute || this.#count >= perSecond) return 'left_out';
    this.#users.set(userId, ofUser + 1);
    if (ofUser === perMinute) return 'full';
    this.#count++;
    return 'allowed';
  }
}
