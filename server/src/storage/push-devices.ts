import { createHash } from 'node:crypto';
import {
  pushPreferencesSchema,
  pushProviderSchema,
  type PushPreferences,
  type PushProviderName,
} from '@warren/protocol';
import { sql, type Selectable } from 'kysely';
import { inList, isSqlite, type Database } from './database.js';
import type { PushDeviceTable } from './schema.js';
import { fromStored, toStored } from './ids.js';

/** A device that can be reached by push. */
export interface PushDevice {
  userId: string;
  deviceId: string;
  provider: PushProviderName;
  /** What the provider knows it by: a token, or a subscription as JSON. */
  token: string;
  language: string | undefined;
  preferences: PushPreferences;
  /** Milliseconds since 1970. */
  updatedAt: number;
}

/** Which devices can be reached by push, and what they want. */
export class PushDeviceStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Whoever had the same token has it no more: the device is somebody else's now. A token that the client has chosen
   * proves nothing of the kind, and leaves other users' registrations alone.
   */
  async put(device: PushDevice): Promise<void> {
    const { provider, token } = device;
    const userId = toStored(device.userId);
    const deviceId = toStored(device.deviceId);
    const values = {
      provider,
      token,
      token_hash: hashOf(device),
      language: device.language ?? null,
      preferences: JSON.stringify(device.preferences),
      updated_at: device.updatedAt,
    };
    await this.#database.transaction().execute(async (transaction) => {
      if (!isSqlite(this.#database)) {
        // Two users at once: neither would see the other's row, and one of them would be refused.
        await sql`select pg_advisory_xact_lock(hashtextextended(${values.token_hash}::text, 0))`.execute(
          transaction,
        );
      }
      await transaction
        .deleteFrom('push_devices')
        .where('token_hash', '=', values.token_hash)
        .where((eb) => eb.or([eb('user_id', '<>', userId), eb('device_id', '<>', deviceId)]))
        .execute();
      await transaction
        .insertInto('push_devices')
        .values({ user_id: userId, device_id: deviceId, ...values })
        .onConflict((conflict) => conflict.columns(['user_id', 'device_id']).doUpdateSet(values))
        .execute();
    });
  }

  async listOf(userId: string): Promise<PushDevice[]> {
    return this.listOfAll([userId]);
  }

  async listOfAll(userIds: string[]): Promise<PushDevice[]> {
    const rows = await this.#database
      .selectFrom('push_devices')
      .selectAll()
      .where('user_id', 'in', inList(this.#database, userIds.map(toStored)))
      .orderBy('id')
      .execute();
    return rows.map(toPushDevice);
  }

  /** @param deviceId default: all of the user's. @returns whether there was any. */
  async remove(userId: string, deviceId?: string): Promise<boolean> {
    let query = this.#database.deleteFrom('push_devices').where('user_id', '=', toStored(userId));
    if (deviceId !== undefined) query = query.where('device_id', '=', toStored(deviceId));
    const { numDeletedRows } = await query.executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /** The provider says that the token is dead; a new one for the same device stays. */
  async removeToken(device: TokenOf): Promise<void> {
    await this.#database
      .deleteFrom('push_devices')
      .where('token_hash', '=', hashOf(device))
      .execute();
  }
}

type TokenOf = Pick<PushDevice, 'provider' | 'token' | 'userId'>;

/**
 * FCM and browsers hand a token to one installation of an app, so that whoever has it has the phone. What a push
 * proxy takes may be anything that another user can know, such as a phone number.
 */
const isChosen = (provider: PushProviderName): boolean => provider === 'webhook';

/** The same for registrations of which there is to be one. */
function hashOf({ provider, token, userId }: TokenOf): string {
  const hash = createHash('sha256').update(`${provider}\n${token}`, 'utf8');
  // Whole, since a token may hold anything.
  if (isChosen(provider)) hash.update(createHash('sha256').update(userId, 'utf8').digest());
  return hash.digest('base64url');
}

const toPushDevice = (row: Omit<Selectable<PushDeviceTable>, 'id'>): PushDevice => ({
  userId: fromStored(row.user_id),
  deviceId: fromStored(row.device_id),
  provider: pushProviderSchema.parse(row.provider),
  token: row.token,
  language: row.language ?? undefined,
  preferences: pushPreferencesSchema.parse(JSON.parse(row.preferences)),
  updatedAt: row.updated_at,
});
