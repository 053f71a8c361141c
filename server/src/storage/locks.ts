import { HttpProblem } from '../problem.js';
import { AdvisoryLocks } from './advisory-locks.js';
import { toStored } from './ids.js';

/** Of one who has a lock, or waits for it. */
class Turn {
  state: 'waits' | 'runs' | 'turned away' = 'waits';
  /** Never rejects. */
  over: Promise<void> = Promise.resolve();
  /** Resolves if its work, or that of one before it, was given up and may still be done. */
  readonly givenUp: Promise<HttpProblem>;
  giveUp!: (problem: HttpProblem) => void;

  constructor() {
    this.givenUp = new Promise((resolve) => {
      this.giveUp = resolve;
    });
  }
}

/**
 * One at a time for each user, each group and each console, over all processes that share the database: what is
 * being revoked must not be opened in the same moment.
 */
export class Locks {
  /** Who was the last to ask for each. */
  readonly #last = new Map<string, Turn>();
  readonly #shared: AdvisoryLocks | undefined;

  /** @param url of PostgreSQL, when other processes share it. */
  constructor(url: string | undefined, onError: (error: Error) => void) {
    // With connections of its own: those who wait for a lock must not hold up those who have one.
    this.#shared = url === undefined ? undefined : new AdvisoryLocks(url, onError);
  }

  /**
   * @param enter waited for when it is the caller's turn in this process, and before other processes are asked: who
   *   waits there keeps nothing from other users. If it rejects, so does this.
   */
  user<Result>(
    userId: string,
    work: () => Promise<Result>,
    enter?: () => Promise<void>,
  ): Promise<Result> {
    return this.#run([ofUser(userId)], work, enter);
  }

  /** All of them at once. */
  users<Result>(userIds: string[], work: () => Promise<Result>): Promise<Result> {
    return this.#run(userIds.map(ofUser), work);
  }

  /** Not to be asked for by whoever has a user's, nor the other way round. */
  group<Result>(groupId: string, work: () => Promise<Result>): Promise<Result> {
    return this.#run([`warren-group:${toStored(groupId)}`], work);
  }

  /** As a group's. */
  console<Result>(sessionId: string, work: () => Promise<Result>): Promise<Result> {
    return this.#run([`warren-console:${toStored(sessionId)}`], work);
  }

  async close(): Promise<void> {
    await this.#shared?.close();
  }

  /**
   * The lock of work that was given up is held until that has ended. Whoever asked for it is told at once, and so is
   * who waits behind it.
   */
  #run<Result>(
    keys: string[],
    work: () => Promise<Result>,
    enter?: () => Promise<void>,
  ): Promise<Result> {
    const before = keys.flatMap((key) => this.#last.get(key) ?? []);
    const turn = new Turn();
    return new Promise((resolve, reject) => {
      const turnAway = (problem: HttpProblem): void => {
        if (turn.state !== 'waits') return;
        turn.state = 'turned away';
        reject(problem);
        turn.giveUp(problem);
      };
      for (const { givenUp } of before) void givenUp.then(turnAway);
      const answer = async (): Promise<void> => {
        const result = work();
        result.then(resolve, reject);
        await result.catch(async (error: unknown) => {
          if (!(error instanceof HttpProblem) || error.ended === undefined) return;
          turn.giveUp(error);
          await error.ended;
        });
      };
      turn.over = this.#inTurn(turn, before, async () => {
        await enter?.();
        await (this.#shared?.run(keys, answer) ?? answer());
      })
        .catch(reject)
        .then(() => {
          for (const key of keys) if (this.#last.get(key) === turn) this.#last.delete(key);
        });
      for (const key of keys) this.#last.set(key, turn);
    });
  }

  async #inTurn(turn: Turn, before: Turn[], work: () => Promise<void>): Promise<void> {
    await Promise.all(before.map(({ over }) => over));
    if (turn.state === 'turned away') return;
    turn.state = 'runs';
    await work();
  }
}

const ofUser = (userId: string): string => `warren:${toStored(userId)}`;
