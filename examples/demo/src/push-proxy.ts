import express, { type RequestHandler } from 'express';
import { Webhook } from 'standardwebhooks';

/** A push as Warren posts it; docs/push.md has all of it. */
interface ProxiedPush {
  key: string;
  id: string;
  user: string;
  title: string;
  body: string;
}

/** What a phone's lock screen shows. */
export interface Notification {
  /** The message's. */
  id: string;
  title: string;
  body: string;
}

const MOST = 20;

/**
 * The application's own push proxy. A real one would hand pushes on to Apple, Google or a text message
 * service; this one keeps them for the phones on the demo's page.
 */
export class PushProxy {
  readonly #webhook: Webhook;
  readonly #taken = new Map<string, ProxiedPush>();

  /** @param secret that pushes are signed with. */
  constructor(secret: string) {
    this.#webhook = new Webhook(secret);
  }

  /** Takes what Warren posts; each push once. */
  readonly handlers: RequestHandler[] = [
    express.text({ type: 'application/json', limit: '1mb' }),
    (request, response) => {
      let posted: { pushes: ProxiedPush[] };
      try {
        const headers = request.headers as Record<string, string>;
        posted = this.#webhook.verify(String(request.body), headers) as typeof posted;
      } catch {
        response.status(401).end();
        return;
      }
      for (const push of posted.pushes) this.#taken.set(push.key, push);
      for (const key of [...this.#taken.keys()].slice(0, -MOST)) this.#taken.delete(key);
      response.status(204).end();
    },
  ];

  /** What a user has got, the oldest first. */
  of(user: string): Notification[] {
    return [...this.#taken.values()]
      .filter((push) => push.user === user)
      .map(({ id, title, body }) => ({ id, title, body }));
  }
}
