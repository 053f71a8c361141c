import type { Database } from './database.js';
import { fromStored, toStored } from './ids.js';
import type { CutoffTable } from './schema.js';

/** Stands for all devices of a user; no real id is empty. */
const ALL_DEVICES = '';

/** Logouts of one user, the newest: whoever logs devices out that never were must not fill the database. */
const MOST_LOGOUTS = 200;
/** Revoked devices of one user, the newest: each is looked at for each session of the user. */
const MOST_REVOKED = 200;
/** Older ones that are taken together at once. */
const PORTION = 100;

/** What of a user is over. Times are milliseconds since 1970. */
export interface Cutoff {
  /** Undefined: of all devices. */
  deviceId: string | undefined;
  /** Sessions that began before are over. */
  sessionsBefore: number;
  /** The application's tokens that were issued before are refused; 0 when none are. */
  tokensBefore: number;
  /** Which installation was logged out last; undefined when no logout has named one. */
  installationId: string | undefined;
}

/**
 * What was logged out, removed or revoked. It outlives the devices and the user: a token that was
 * issued before must not make them anew.
 */
export class CutoffStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async listOf(userId: string): Promise<Cutoff[]> {
    const rows = await this.#database
      .selectFrom('cutoffs')
      .selectAll()
      .where('user_id', '=', toStored(userId))
      .execute();
    return rows.map(toCutoff);
  }

  /** Of all devices of a user. Asked at each request, so that it reads one row at most. */
  async findWhole(userId: string): Promise<Cutoff | undefined> {
    const row = await this.#database
      .selectFrom('cutoffs')
      .selectAll()
      .where('user_id', '=', toStored(userId))
      .where('device_id', '=', ALL_DEVICES)
      .executeTakeFirst();
    return row && toCutoff(row);
  }

  /** A later one replaces an earlier one, except for what it does not name; neither time ever goes back. */
  async raise(userId: string, cutoff: Cutoff): Promise<void> {
    await this.#write(userId, cutoff);
    if (cutoff.deviceId === undefined) return;
    if (cutoff.tokensBefore === 0) await this.#trim(userId);
    else await this.#gather(userId);
  }

  async #write(userId: string, cutoff: Cutoff): Promise<void> {
    const { sessionsBefore, tokensBefore, installationId } = cutoff;
    await this.#database
      .insertInto('cutoffs')
      .values({
        user_id: toStored(userId),
        device_id: cutoff.deviceId === undefined ? ALL_DEVICES : toStored(cutoff.deviceId),
        sessions_before: sessionsBefore,
        tokens_before: tokensBefore,
        installation_id: installationId ?? null,
      })
      .onConflict((conflict) =>
        conflict.columns(['user_id', 'device_id']).doUpdateSet((eb) => ({
          sessions_before: eb
            .case()
            .when('cutoffs.sessions_before', '>', sessionsBefore)
            .then(eb.ref('cutoffs.sessions_before'))
            .else(sessionsBefore)
            .end(),
          tokens_before: eb
            .case()
            .when('cutoffs.tokens_before', '>', tokensBefore)
            .then(eb.ref('cutoffs.tokens_before'))
            .else(tokensBefore)
            .end(),
          ...(installationId !== undefined && { installation_id: installationId }),
        })),
      )
      .execute();
  }

  async #trim(userId: string): Promise<void> {
    const logouts = this.#database
      .selectFrom('cutoffs')
      .select('sessions_before')
      .where('user_id', '=', toStored(userId))
      .where('device_id', '<>', ALL_DEVICES)
      .where('tokens_before', '=', 0);
    const oldest = await logouts
      .orderBy('sessions_before', 'desc')
      .offset(MOST_LOGOUTS - 1)
      .limit(1)
      .executeTakeFirst();
    if (oldest === undefined) return;
    await this.#database
      .deleteFrom('cutoffs')
      .where('user_id', '=', toStored(userId))
      .where('device_id', '<>', ALL_DEVICES)
      .where('tokens_before', '=', 0)
      .where('sessions_before', '<', oldest.sessions_before)
      .execute();
  }

  /**
   * What a back end has revoked is never forgotten. But where there are very many of one user's devices, the tokens
   * that were issued before the oldest of these revocations are refused for all of them, which needs one row.
   */
  async #gather(userId: string): Promise<void> {
    const revoked = this.#database
      .selectFrom('cutoffs')
      .select(['device_id', 'tokens_before'])
      .where('user_id', '=', toStored(userId))
      .where('device_id', '<>', ALL_DEVICES)
      .where('tokens_before', '>', 0);
    const [newest, ...others] = await revoked
      .orderBy('tokens_before', 'desc')
      .orderBy('device_id')
      .offset(MOST_REVOKED)
      .limit(PORTION)
      .execute();
    if (newest === undefined) return;
    await this.#write(userId, {
      deviceId: undefined,
      sessionsBefore: 0,
      tokensBefore: newest.tokens_before,
      installationId: undefined,
    });
    const ids = [newest, ...others].map(({ device_id: deviceId }) => deviceId);
    await this.#database
      .deleteFrom('cutoffs')
      .where('user_id', '=', toStored(userId))
      .where('device_id', 'in', ids)
      .where('tokens_before', '<=', newest.tokens_before)
      .execute();
  }

  /** Forgets those that refuse no token and whose sessions nobody can still name. */
  async removeOld(before: number): Promise<void> {
    await this.#database
      .deleteFrom('cutoffs')
      .where('tokens_before', '=', 0)
      .where('sessions_before', '<', before)
      .execute();
  }
}

const toCutoff = (row: CutoffTable): Cutoff => ({
  deviceId: row.device_id === ALL_DEVICES ? undefined : fromStored(row.device_id),
  sessionsBefore: row.sessions_before,
  tokensBefore: row.tokens_before,
  installationId: row.installation_id ?? undefined,
});
