import type * as Sdk from '@warren/client';
import type { Profile, RawPage } from './raw-chromium.js';

/** What a page of these tests holds under `window.tab`. */
interface TabState {
  client: Sdk.Client;
  handled: unknown[];
  observed: unknown[];
  states: string[];
  errors: string[];
}
declare const window: { warren: typeof Sdk; tab: TabState };

export interface TabOptions {
  apiUrl: string;
  /** Where the page comes from. Default: the API's own origin. */
  pageOrigin?: string;
  userId: string;
  token: string;
  /** Types that this tab handles. Default `note`. */
  handles?: string[];
  /** How long a handler takes, in milliseconds; -1: for ever. Default 0: it ends before the next task. */
  handlerMs?: number;
  options?: Partial<
    Pick<Sdk.ClientOptions, 'background' | 'deviceId' | 'backoffMaxMs' | 'unhandled'>
  >;
  /** Where the handler notes, before it returns, what it was given: `POST` with the data as text. */
  noteAt?: string;
  /** Runs in the page before anything else. */
  before?: () => void;
}

/** One tab of a browser, with a client of the real SDK in it. */
export class Tab {
  readonly page: RawPage;

  private constructor(page: RawPage) {
    this.page = page;
  }

  static async open(profile: Profile, options: TabOptions): Promise<Tab> {
    const url = `${options.pageOrigin ?? options.apiUrl}/page`;
    const page = await profile.newPage(url, () => 'warren' in window, options.before);
    const tab = new Tab(page);
    await tab.start(options);
    return tab;
  }

  /** Makes and starts the page's client. */
  async start({
    apiUrl,
    userId,
    token,
    handles = ['note'],
    handlerMs = 0,
    noteAt,
    options = {},
  }: TabOptions): Promise<void> {
    await this.page.evaluate(
      ({ apiUrl, userId, token, handles, handlerMs, noteAt, options }) => {
        const client = window.warren.getClient({
          apiUrl,
          userId,
          getToken: () => token,
          backoffBaseMs: 50,
          backoffMaxMs: 500,
          ...options,
        });
        const tab: TabState = { client, handled: [], observed: [], states: [], errors: [] };
        window.tab = tab;
        for (const type of handles) {
          client.handle(type, ({ data }) => {
            tab.handled.push(data);
            if (noteAt !== undefined) {
              const request = new XMLHttpRequest();
              // Not asynchronous: it is on the server before the ack can be on its way.
              request.open('POST', noteAt, false);
              request.send(String(data));
            }
            if (handlerMs === 0) return undefined;
            return new Promise((resolve) => {
              if (handlerMs > 0) setTimeout(resolve, handlerMs);
            });
          });
        }
        client.observe('*', ({ data }) => {
          tab.observed.push(data);
        });
        client.on('state', ({ current, reason }) => {
          tab.states.push(reason === undefined ? current : `${current}: ${reason.code}`);
        });
        client.on('error', ({ error }) => {
          tab.errors.push(error.code);
        });
        client.start();
      },
      { apiUrl, userId, token, handles, handlerMs, noteAt, options },
    );
  }

  ready(): Promise<void> {
    return this.page.evaluate(() => window.tab.client.ready());
  }

  async snapshot(): Promise<{ state: string; role: string; receiving: boolean; reason?: string }> {
    return this.page.evaluate(() => {
      const { state, role, receiving, reason } = window.tab.client.getSnapshot();
      return { state, role, receiving, ...(reason !== undefined && { reason: reason.code }) };
    });
  }

  handled(): Promise<unknown[]> {
    return this.page.evaluate(() => window.tab.handled);
  }

  observed(): Promise<unknown[]> {
    return this.page.evaluate(() => window.tab.observed);
  }

  states(): Promise<string[]> {
    return this.page.evaluate(() => window.tab.states);
  }

  errors(): Promise<string[]> {
    return this.page.evaluate(() => window.tab.errors);
  }

  async isLeader(): Promise<boolean> {
    const { role, state } = await this.snapshot();
    return role === 'leader' && state === 'connected';
  }

  stop(): Promise<void> {
    return this.page.evaluate(() => window.tab.client.stop());
  }

  logout(): Promise<void> {
    return this.page.evaluate(() => window.tab.client.logout());
  }
}
