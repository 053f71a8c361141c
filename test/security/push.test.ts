import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { PushBed } from '../support/push-bed.js';

/*
 * What a push proxy takes for a token is whatever a client says: a user who knows another one's registers it, too.
 */

let bed: PushBed;
beforeAll(async () => {
  bed = await PushBed.start();
});
afterEach(() => {
  bed.beKind();
});
afterAll(() => bed.close());

/** A victim whose token somebody else has registered as well. */
async function stolen(): Promise<{ victim: string; thief: string; token: string }> {
  const [victim, thief] = [await bed.provisioned(), await bed.provisioned()];
  const token = `phone-of-${victim}`;
  for (const user of [victim, thief]) await bed.register(user, 'phone', { token });
  return { victim, thief, token };
}

it('a token of a push proxy cannot be taken from its user by registering it', async () => {
  const { victim, token } = await stolen();
  const id = await bed.push({ user: victim }, { afterMs: 0 });
  await bed.expectOutcome(id, victim, 'pushed');
  expect(bed.pushesOf(id)).toMatchObject([{ user: victim, token }]);
});

it('a token that the proxy calls dead for one user stays with another', async () => {
  const { victim, thief } = await stolen();
  bed.proxy.behave = (pushes) =>
    pushes.some(({ user }) => user === thief) ? { status: 410 } : undefined;
  const toThief = await bed.push({ user: thief }, { afterMs: 0 });
  await bed.expectOutcome(toThief, thief, 'push_failed', 'unregistered');
  expect(await bed.registered(thief)).toEqual([]);
  const id = await bed.push({ user: victim }, { afterMs: 0 });
  await bed.expectOutcome(id, victim, 'pushed');
});
