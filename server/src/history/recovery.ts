import type { RecoveredBody, RecoveryQuery } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import type { Device } from '../storage/devices.js';
import type { HistoryPlace } from '../storage/history.js';
import type { Storage } from '../storage/index.js';
import type { CaughtUp } from './caught-up.js';
import { toItem } from './items.js';
import { rangesOf } from './views.js';

export interface RecoveryOptions {
  storage: Storage;
  caughtUp: CaughtUp;
}

/**
 * So long before the last message that a device has handled it begins again: two messages may come by the
 * mailbox in another order than by the history's queue. In milliseconds.
 */
const OVERLAP_MS = 60_000;

/** Gives a device what it has missed. */
export class Recovery {
  readonly #options: RecoveryOptions;

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  /**
   * What went to a device since the last message that it has handled, the oldest first, page by page.
   * @returns JSON.
   * @throws {HttpProblem} `session_ended` for a device that is not known; `history_behind`
   */
  async read(userId: string, query: RecoveryQuery): Promise<string> {
    const { storage, caughtUp } = this.#options;
    const device = await this.#device(userId, query.deviceId);
    if (query.cursor === undefined && !(await caughtUp.wait())) {
      throw new HttpProblem('history_behind', undefined, { retryAfterSeconds: 2 });
    }
    const views = await rangesOf(userId, 0, storage);
    const timelines = views.map(({ timeline }) => timeline);
    const last = await this.#find(query.last, timelines);
    const oldest = await this.#find(query.oldest, timelines);
    const handledUntil = last?.at ?? query.lastAt;
    // Nothing went to it before; one that a new database does not know has come so far, at least.
    const since = Math.min(device.created_at, handledUntil ?? device.created_at);
    const { afterSeq, untilSeq } =
      cursorOf(query.cursor) ??
      (await this.#begin(last, oldest, query.lastAt ?? device.missed_since ?? device.created_at));
    const { rows, hasMore } = await storage.history.page({
      ranges: views.map((view) => ({ ...view, sentFrom: Math.max(since, view.sentFrom ?? 0) })),
      afterSeq,
      beforeSeq: untilSeq + 1,
      deviceId: query.deviceId,
      order: 'asc',
      limit: query.limit,
    });
    const end = hasMore ? rows.at(-1) : undefined;
    const now = Date.now();
    const items = rows
      // Its time would be over in the mailbox, too.
      .filter(({ expires_at: expiresAt }) => expiresAt === null || expiresAt > now)
      .map((row) => toItem(row, userId));
    const rest = {
      complete: await this.#isComplete(device, handledUntil, timelines),
      mark: String(device.missed_at ?? 0),
      ...(end !== undefined && { next: `${String(end.seq)}-${String(untilSeq)}` }),
    };
    return `{"items":[${items.join(',')}],${JSON.stringify(rest).slice(1)}`;
  }

  /** The device has handled all of it; what it has missed since then, it is told of again. */
  async finish(userId: string, { deviceId, mark }: RecoveredBody): Promise<void> {
    const device = await this.#device(userId, deviceId);
    await this.#options.storage.devices.clearMissed(device, Number(mark));
  }

  async #device(userId: string, deviceId: string): Promise<Device> {
    const device = await this.#options.storage.devices.find(userId, deviceId);
    if (device?.ended_at !== null) throw new HttpProblem('session_ended');
    return device;
  }

  /** Also one of a group that the user has left since. */
  async #find(id: string | undefined, timelines: string[]): Promise<HistoryPlace | undefined> {
    if (id === undefined) return undefined;
    const { history } = this.#options.storage;
    return (await history.findIn(id, timelines)) ?? (await history.find(id));
  }

  /** @param time when the device handled its last message, where the history does not have that. */
  async #begin(
    last: HistoryPlace | undefined,
    oldest: HistoryPlace | undefined,
    time: number,
  ): Promise<{ afterSeq: number; untilSeq: number }> {
    const { history } = this.#options.storage;
    const untilSeq = await history.lastSeq();
    const begin = await history.seqFrom((last?.storedAt ?? time) - OVERLAP_MS);
    return { afterSeq: Math.max(begin, oldest?.seq ?? 0) - 1, untilSeq };
  }

  /**
   * Whether nothing was missed that the history does not have.
   * @param from when the last message was sent that the device has handled; undefined when it cannot say.
   */
  async #isComplete(
    device: Device,
    from: number | undefined,
    timelines: string[],
  ): Promise<boolean> {
    if (device.missed_for_good === 1 || from === undefined) return false;
    return (await this.#options.storage.historyErasure.trimmedUntil(timelines)) < from;
  }
}

function cursorOf(cursor: string | undefined): { afterSeq: number; untilSeq: number } | undefined {
  if (cursor === undefined) return undefined;
  const [afterSeq = 0, untilSeq = 0] = cursor.split('-').map(Number);
  return { afterSeq, untilSeq };
}
