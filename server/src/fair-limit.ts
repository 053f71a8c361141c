/** Gives a place back; once is enough. */
export type Leave = () => void;

/** Those of one key. */
interface Lane {
  key: string;
  running: number;
  /** Each is called when it may run; the first has waited for longest. */
  waiting: Set<() => void>;
}

/**
 * Lets so much be done at the same time, and less of it for one key, a user say. Keys take turns: whoever has
 * much to do waits for itself, and another one for no more than one piece of each.
 */
export class FairLimit {
  readonly #atOnce: number;
  readonly #ofOne: number;
  readonly #lanes = new Map<string, Lane>();
  /** Lanes in which somebody waits and may run, in the order of their turns. */
  readonly #ready = new Set<Lane>();
  #running = 0;
  #waiting = 0;

  constructor(atOnce: number, ofOne: number) {
    this.#atOnce = atOnce;
    this.#ofOne = ofOne;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting;
  }

  waitingOf(key: string): number {
    return this.#lanes.get(key)?.waiting.size ?? 0;
  }

  async run<Result>(
    key: string,
    work: () => Promise<Result>,
    signal?: AbortSignal,
  ): Promise<Result> {
    const leave = await this.enter(key, signal);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  /** Resolves when there is a place. @throws the signal's reason, if it is aborted before. */
  async enter(key: string, signal?: AbortSignal): Promise<Leave> {
    signal?.throwIfAborted();
    const lane = this.#lanes.get(key) ?? { key, running: 0, waiting: new Set() };
    this.#lanes.set(key, lane);
    await this.#wait(lane, signal);
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      lane.running--;
      this.#running--;
      this.#sort(lane);
      this.#admit();
    };
  }

  #wait(lane: Lane, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const goOn = (): void => {
        signal?.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = (): void => {
        this.#waiting--;
        lane.waiting.delete(goOn);
        this.#sort(lane);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', giveUp);
      this.#waiting++;
      lane.waiting.add(goOn);
      this.#sort(lane);
      this.#admit();
    });
  }

  #sort(lane: Lane): void {
    if (lane.waiting.size > 0 && lane.running < this.#ofOne) this.#ready.add(lane);
    else this.#ready.delete(lane);
    if (lane.waiting.size === 0 && lane.running === 0) this.#lanes.delete(lane.key);
  }

  #admit(): void {
    // A lane that is added again is come to again, behind the others.
    for (const lane of this.#ready) {
      if (this.#running >= this.#atOnce) return;
      this.#ready.delete(lane);
      const [goOn] = lane.waiting;
      if (goOn === undefined) continue;
      lane.waiting.delete(goOn);
      this.#waiting--;
      lane.running++;
      this.#running++;
      this.#sort(lane);
      goOn();
    }
  }
}
