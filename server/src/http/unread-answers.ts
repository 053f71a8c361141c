import type { ServerResponse } from 'node:http';
import { HttpProblem } from '../problem.js';

/** Of one caller, in characters: four of the longest pages of the history. */
const MOST = 16 * 1024 * 1024;
const LEAST_SECONDS = 1;

/**
 * Answers that were made and that their callers have not taken yet. They lie in memory: whoever asks for long ones, as
 * often as it may, and reads none of them would have the server keep them all.
 */
export class UnreadAnswers {
  readonly #sizes = new Map<string, number>();

  /**
   * Counts an answer until its caller has it, or has gone. One alone may be of any length.
   * @throws {HttpProblem} `rate_limited`: there is too much that this caller has to read first.
   */
  add(caller: string, size: number, response: ServerResponse): void {
    const before = this.#sizes.get(caller) ?? 0;
    if (before > 0 && before + size > MOST) {
      const why = 'Read the answers to your earlier requests first.';
      throw new HttpProblem('rate_limited', why, { retryAfterSeconds: LEAST_SECONDS });
    }
    this.#sizes.set(caller, before + size);
    response.once('close', () => {
      const left = (this.#sizes.get(caller) ?? 0) - size;
      if (left > 0) this.#sizes.set(caller, left);
      else this.#sizes.delete(caller);
    });
  }
}
