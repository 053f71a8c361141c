import { expect, inject, it } from 'vitest';
import { HttpService } from '../support/http-service.js';
import { startStack, uniqueUser } from '../support/stack.js';
import { until } from '../support/until.js';

const QUEUE = 'warren.webhook';

/** The patterns by which the queue of webhooks is bound to the events. */
async function patterns(): Promise<string[]> {
  const { origin, username, password } = new URL(inject('broker').endpoints.managementUrl);
  const response = await fetch(`${origin}/api/bindings/warren/e/warren.events/q/${QUEUE}`, {
    headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
  });
  const bindings = (await response.json()) as { routing_key: string }[];
  return bindings.map(({ routing_key: key }) => key).sort();
}

it('webhooks get only what they are set up for now, and their queue nothing when there are none', async () => {
  const got: string[] = [];
  const service = await HttpService.start(({ body }) => {
    got.push(body.toString('utf8'));
    return { status: 204 };
  });
  const url = `http://127.0.0.1:${String(service.port)}`;
  const webhooks = (...wanted: string[]) => ({
    webhooks: { url, secret: btoa('the secret of the webhook'), patterns: wanted },
  });
  const first = await startStack({ config: webhooks('session.#', 'user.online') });
  await until(async () => (await patterns()).join() === 'session.#,user.online');
  await first.close();
  const narrow = await startStack({ config: webhooks('session.#') });
  await until(async () => (await patterns()).join() === 'session.#');
  // One without webhooks beside it takes nothing away.
  const beside = await startStack();
  const user = uniqueUser();
  await beside.session(user, {});
  await until(() => got.some((event) => event.includes(user)));
  expect(await patterns()).toEqual(['session.#']);
  await beside.close();
  await narrow.close();
  const none = await startStack();
  await until(async () => (await patterns()).length === 0);
  await none.close();
  await service.close();
});
