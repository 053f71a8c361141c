/** What may be written down of one kind: a flood of it must not fill the disk. */
export interface BudgetLimits {
  /** Of all users together. */
  perSecond: number;
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

  /** Whether one more may be written down. @param now milliseconds since 1970. */
  allows(userId: string, now = Date.now()): boolean {
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
    const { perSecond, perMinute } = this.#limits;
    const ofUser = this.#users.get(userId) ?? 0;
    if (this.#count >= perSecond || ofUser >= perMinute) return false;
    this.#count++;
    this.#users.set(userId, ofUser + 1);
    return true;
  }
}
