import { randomBytes } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import type { ProxiedPush, PushProxyBody } from '@warren/protocol';
import { HttpService, type Behaviour, type ReceivedRequest } from './http-service.js';

/** An application's own push proxy, which checks what comes as docs/push.md says. */
export class PushProxy {
  readonly secret = `whsec_${randomBytes(32).toString('base64')}`;
  /** What it has taken, by its key: the same one again is no other push. */
  readonly taken = new Map<string, ProxiedPush>();
  /** How many pushes each request had, taken or not. */
  readonly sizes: number[] = [];
  readonly keys: string[] = [];
  forged = 0;
  /** Asked before pushes are taken; undefined takes them. */
  behave: (pushes: ProxiedPush[]) => Behaviour | undefined | Promise<Behaviour | undefined> = () =>
    undefined;
  #service!: HttpService;

  static async start(): Promise<PushProxy> {
    const proxy = new PushProxy();
    proxy.#service = await HttpService.start((request) => proxy.#answer(request));
    return proxy;
  }

  get url(): string {
    return `${this.#service.url}/pushes`;
  }

  /** Its port, which nobody listens on until {@link comeBack}. */
  async goAway(): Promise<() => Promise<void>> {
    const { port } = this.#service;
    await this.#service.close();
    return async () => {
      this.#service = await HttpService.start((request) => this.#answer(request), port);
    };
  }

  /** What somebody has got, the oldest first. */
  of(user: string): ProxiedPush[] {
    return [...this.taken.values()].filter((push) => push.user === user);
  }

  close(): Promise<void> {
    return this.#service.close();
  }

  async #answer({ headers, body }: ReceivedRequest): Promise<Behaviour> {
    let pushes: ProxiedPush[];
    try {
      const verified = new Webhook(this.secret).verify(
        body.toString('utf8'),
        headers as Record<string, string>,
      );
      ({ pushes } = verified as PushProxyBody);
    } catch {
      this.forged++;
      return { status: 401 };
    }
    this.sizes.push(pushes.length);
    this.keys.push(...pushes.map(({ key }) => key));
    const behaviour = (await this.behave(pushes)) ?? { status: 204 };
    for (const push of takenOf(behaviour, pushes)) {
      if (!this.taken.has(push.key)) this.taken.set(push.key, push);
    }
    return behaviour;
  }
}

/** Those that an answer takes. */
function takenOf(behaviour: Behaviour, pushes: ProxiedPush[]): ProxiedPush[] {
  if (typeof behaviour === 'string' || behaviour.status > 299 || behaviour.text !== undefined) {
    return [];
  }
  const { results = [] } = Object(behaviour.body) as {
    results?: { key: string; status: string }[];
  };
  const others = results.filter(({ status }) => status !== 'sent').map(({ key }) => key);
  return pushes.filter(({ key }) => !others.includes(key));
}
