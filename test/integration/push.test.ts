import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MessageState, ProxiedPush } from '@warren/protocol';
import { EventLog } from '../support/events.js';
import { FcmService } from '../support/fcm-service.js';
import { PushProxy } from '../support/push-proxy.js';
import {
  collect,
  NO_RATES,
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';
import { WebPushService } from '../support/web-push-service.js';

const VAPID_KEY = 'KtRlSZQdTFNEBKQoKpWyJAaGtHFuhrJFSbUzPJxd9TE';
const TEXT = { title: 'Anna', body: 'Are you there?' };

let stack: Stack;
let log: EventLog;
let browsers: WebPushService;
let fcm: FcmService;
let proxy: PushProxy;

beforeAll(async () => {
  [browsers, fcm, proxy] = await Promise.all([
    WebPushService.start(),
    FcmService.start(),
    PushProxy.start(),
  ]);
  stack = await startStack({
    config: {
      push: {
        providers: {
          webpush: {
            vapidPrivateKey: VAPID_KEY,
            vapidSubject: 'mailto:ops@app.example',
            hosts: [browsers.host],
          },
          fcm: { account: fcm.account, url: fcm.url },
          webhook: { url: proxy.url, secret: proxy.secret },
        },
        limits: { attempts: 3, rates: NO_RATES },
        hasWorker: true,
      },
    },
  });
  log = await EventLog.open('message.#');
});
afterAll(async () => {
  expect(browsers.complaints).toEqual([]);
  expect(fcm.complaints).toEqual([]);
  expect(proxy.forged).toBe(0);
  await Promise.all([log.close(), stack.close(), browsers.close(), fcm.close(), proxy.close()]);
});

const asUser = (user: string, method: string, path: string, body?: object) =>
  request(`${stack.apiUrl}${path}`, method, userToken(user), body);

/** Registers a device, by the push proxy unless something else is said. */
async function register(user: string, device = 'phone', more: object = {}): Promise<void> {
  const body = { provider: 'webhook', token: `token-of-${user}-${device}`, ...more };
  const reply = await asUser(user, 'PUT', `/v1/me/push-devices/${device}`, body);
  expect(reply).toMatchObject({ status: 200 });
}

async function provisioned(): Promise<string> {
  const user = uniqueUser();
  await stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
  return user;
}

async function push(to: object, more: object = {}, settings: object = {}): Promise<string> {
  const reply = await stack.send(to, { text: 'Are you there?' }, { push: { ...TEXT, ...more }, ...settings });
  expect(reply).toMatchObject({ status: 202 });
  return reply.body.id;
}

async function stateOf(id: string): Promise<MessageState> {
  return (await stack.api('GET', `/v1/messages/${id}`)).body as unknown as MessageState;
}

const recipientOf = async (id: string, user: string) =>
  (await stateOf(id)).recipients.find((recipient) => recipient.user === user);

async function expectOutcome(id: string, user: string, outcome: string, reason?: string) {
  await until(
    async () => (await recipientOf(id, user))?.outcome === outcome,
    async () => `${outcome}: ${JSON.stringify(await recipientOf(id, user))}`,
  );
  expect((await recipientOf(id, user))?.reason).toBe(reason);
}

describe('a message with a push', () => {
  it('is pushed when nobody has handled it in time', async () => {
    const user = await provisioned();
    await register(user);
    const id = await push({ user }, { afterMs: 150, data: { room: 7 } });
    expect(await recipientOf(id, user)).toMatchObject({ outcome: 'queued' });
    await expectOutcome(id, user, 'pushed');
    expect(proxy.of(user)).toEqual([
      expect.objectContaining({ id, ...TEXT, user, device: 'phone', tag: id, data: { room: 7 } }),
    ]);
    await until(() => log.of(user).includes('message.pushed pushed'), 'the event');
  });
});
