import type { Kysely } from 'kysely';

/** A request for a session that a logout has overtaken is told by the installation that sent it. */
export async function addLogouts(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('cutoffs').addColumn('installation_id', 'text').execute();
}
