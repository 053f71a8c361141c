import { sql, type RawBuilder } from 'kysely';
import { inLockOrder } from './lock-order.js';
import { tellOfChange, type Change, type PushFailure } from './outcomes.js';

/** That a message will not be pushed. */
export interface Unpushed {
  id: string;
  outcome: PushFailure;
  reason: string;
  /** Milliseconds since 1970. */
  at: number;
}

/**
 * No push will reach those of the chosen recipients for whom the message is open. For whom a copy waits it stays
 * so, since a device may still handle that; for all others it ends.
 */
export async function setUnpushed(
  change: Change,
  { id, outcome, reason, at }: Unpushed,
  chosen: RawBuilder<boolean>,
): Promise<void> {
  const rows = await change.transaction
    .updateTable('recipients')
    .set({
      outcome,
      outcome_at: at,
      reason,
      deadline: sql<number | null>`case when has_copy = 1 then deadline end`,
      push_failed_at: sql<number | null>`case when has_copy = 1 then cast(${at} as bigint) end`,
    })
    .where('deadline', 'is not', null)
    .where(
      inLockOrder(
        change.transaction,
        sql`message_id = ${id} and deadline is not null and (${chosen})`,
      ),
    )
    .returning(['message_id', 'user_id', 'has_copy'])
    .execute();
  for (const isWaiting of [true, false]) {
    const some = rows.filter((row) => (row.has_copy === 1) === isWaiting);
    await tellOfChange(change, some, { outcome, at, reason, isWaiting });
  }
}
