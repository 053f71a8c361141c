import { expect } from 'vitest';
import type { MessageState, ProxiedPush, PushDeviceState } from '@warren/protocol';
import type { Config } from '@warren/server';
import { FcmService } from './fcm-service.js';
import { PushProxy } from './push-proxy.js';
import {
  NO_RATES,
  request,
  startStack,
  uniqueUser,
  userToken,
  type Stack,
  type StackOptions,
} from './stack.js';
import { until } from './until.js';
import { WebPushService } from './web-push-service.js';

type PushLimits = Config['push']['limits'];

export const VAPID_KEY = 'KtRlSZQdTFNEBKQoKpWyJAaGtHFuhrJFSbUzPJxd9TE';
export const TEXT = { title: 'Anna', body: 'Are you there?' };

/** A server with every provider of pushes, which are the test's own. */
export class PushBed {
  private constructor(
    readonly stack: Stack,
    readonly browsers: WebPushService,
    readonly fcm: FcmService,
    readonly proxy: PushProxy,
  ) {}

  /**
   * @param hasWorker false: the test starts workers of its own.
   * @param limits default: three attempts, as fast as can be.
   */
  static async start({
    config,
    hasWorker = true,
    limits = {},
    ...options
  }: StackOptions & { hasWorker?: boolean; limits?: Partial<PushLimits> } = {}): Promise<PushBed> {
    const [browsers, fcm, proxy] = await Promise.all([
      WebPushService.start(),
      FcmService.start(),
      PushProxy.start(),
    ]);
    const stack = await startStack({
      ...options,
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
          limits: { attempts: 3, rates: NO_RATES, ...limits },
          hasWorker,
        },
        ...config,
      },
    });
    return new PushBed(stack, browsers, fcm, proxy);
  }

  /** All that came was as the standards and the documentation say. */
  async close(): Promise<void> {
    const { stack, browsers, fcm, proxy } = this;
    await Promise.all([stack.close(), browsers.close(), fcm.close(), proxy.close()]);
    expect(browsers.complaints).toEqual([]);
    expect(fcm.complaints).toEqual([]);
    expect(proxy.forged).toBe(0);
  }

  /** Every provider takes everything again. */
  beKind(): void {
    for (const service of [this.browsers, this.fcm, this.proxy]) service.behave = () => undefined;
  }

  asUser(user: string, method: string, path: string, body?: object, claims: object = {}) {
    return request(`${this.stack.apiUrl}${path}`, method, userToken(user, claims), body);
  }

  /** Registers a device, by the push proxy unless something else is said. */
  async register(user: string, device = 'phone', more: object = {}): Promise<void> {
    const body = { provider: 'webhook', token: `token-of-${user}-${device}`, ...more };
    const reply = await this.asUser(user, 'PUT', `/v1/me/push-devices/${device}`, body);
    expect(reply).toMatchObject({ status: 200 });
  }

  async registered(user: string): Promise<PushDeviceState[]> {
    const { body } = await this.asUser(user, 'GET', '/v1/me/push-devices');
    return (body as unknown as { devices: PushDeviceState[] }).devices;
  }

  /** Somebody with a mailbox, who is not there. */
  async provisioned(): Promise<string> {
    const user = uniqueUser();
    await this.stack.api('PUT', `/v1/users/${user}`, { devices: ['phone'] });
    return user;
  }

  /** @returns the message's id. */
  async push(to: object, more: object = {}, settings: object = {}): Promise<string> {
    const body = { push: { ...TEXT, ...more }, ...settings };
    const reply = await this.stack.send(to, { text: TEXT.body }, body);
    expect(reply).toMatchObject({ status: 202 });
    return reply.body.id;
  }

  async stateOf(id: string): Promise<MessageState> {
    return (await this.stack.api('GET', `/v1/messages/${id}`)).body as unknown as MessageState;
  }

  async recipientOf(id: string, user: string): Promise<MessageState['recipients'][number]> {
    const { recipients } = await this.stateOf(id);
    return recipients.find((recipient) => recipient.user === user)!;
  }

  async expectOutcome(id: string, user: string, outcome: string, reason?: string): Promise<void> {
    await until(
      async () => (await this.recipientOf(id, user)).outcome === outcome,
      async () => `${outcome}: ${JSON.stringify(await this.recipientOf(id, user))}`,
    );
    expect((await this.recipientOf(id, user)).reason).toBe(reason);
  }

  /** Pushes of a message that the proxy has taken. */
  pushesOf(id: string): ProxiedPush[] {
    return [...this.proxy.taken.values()].filter((taken) => taken.id === id);
  }

  /** Whatever was due so far has been decided, when this resolves. */
  async afterOthers(afterMs: number): Promise<void> {
    const last = await this.provisioned();
    await this.register(last);
    await this.expectOutcome(await this.push({ user: last }, { afterMs }), last, 'pushed');
  }
}
