import { getClient, type Client, type ClientStorage } from '@warren/client';
import type {
  AdminToken,
  FeedBody,
  SessionGrant,
  Stats,
  Trace,
  WarrenEvent,
} from '@warren/protocol';
import { BASE, type Api, ApiError } from './api.js';
import { StatsStore } from './stats.js';

/** How often the server hears what is shown, in milliseconds; it forgets a console after a minute. */
const FEED_EVERY_MS = 15_000;
/** Several parts of a page that come and go together are told of once. */
const GATHER_MS = 100;

export type LiveEvent = WarrenEvent | ({ event: 'trace'; at: string } & Trace);
type Listener = (event: LiveEvent) => void;

export type LiveState = 'connecting' | 'connected' | 'disconnected';

interface Want {
  events: string[];
  watch: string[];
}

/** The console's own connection to RabbitMQ: figures once a second, and whatever events are shown. */
export class Live {
  readonly stats = new StatsStore();
  readonly #api: Api;
  readonly #client: Client;
  readonly #wants = new Set<Want>();
  readonly #listeners = new Set<Listener>();
  readonly #stateListeners = new Set<() => void>();
  readonly #timers: number[] = [];
  #sessionId: string | undefined;
  #gathering: number | undefined;
  /** One after the other: the server compares each with the one before. */
  #feeding: Promise<void> = Promise.resolve();

  constructor(api: Api, { actor }: AdminToken) {
    this.#api = api;
    this.#client = getClient({
      apiUrl: BASE,
      userId: actor,
      // One for each page: each has its own queue.
      deviceId: crypto.randomUUID(),
      getToken: () => api.token,
      storage: memoryStorage(),
      dedupe: 'memory',
      platform: { fetch: this.#fetch },
    });
    this.#client.handle('*', ({ type, data }) => {
      if (type === 'stats') this.stats.hear(data as Stats);
      else for (const listener of this.#listeners) listener(data as LiveEvent);
    });
    this.#client.on('state', () => {
      for (const listener of this.#stateListeners) listener();
    });
  }

  start(): void {
    this.#client.start();
    this.#timers.push(
      window.setInterval(() => {
        this.stats.tick();
      }, 1000),
      window.setInterval(() => {
        this.#feedInTurn();
      }, FEED_EVERY_MS),
    );
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    clearTimeout(this.#gathering);
    await this.#client.stop();
    if (this.#sessionId === undefined) return;
    await this.#api.call('DELETE', `sessions/${this.#sessionId}`).catch(() => undefined);
  }

  readonly getState = (): LiveState => {
    const { state } = this.#client.getSnapshot();
    if (state === 'connected') return 'connected';
    return state === 'authorizing' || state === 'connecting' ? 'connecting' : 'disconnected';
  };

  readonly subscribeToState = (listener: () => void): (() => void) => {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  };

  /** Has events arrive until the returned function is called. */
  listen(want: Partial<Want>, listener: Listener): () => void {
    const own: Want = { events: want.events ?? [], watch: want.watch ?? [] };
    this.#wants.add(own);
    this.#listeners.add(listener);
    this.#feedSoon();
    return () => {
      this.#wants.delete(own);
      this.#listeners.delete(listener);
      this.#feedSoon();
    };
  }

  #feedSoon(): void {
    clearTimeout(this.#gathering);
    this.#gathering = window.setTimeout(() => {
      this.#feedInTurn();
    }, GATHER_MS);
  }

  #feedInTurn(): void {
    this.#feeding = this.#feeding.then(() => this.#feed());
  }

  async #feed(): Promise<void> {
    if (this.#sessionId === undefined) return;
    const wants = [...this.#wants];
    const body: FeedBody = {
      events: [...new Set(wants.flatMap(({ events }) => events))],
      watch: [...new Set(wants.flatMap(({ watch }) => watch))],
    };
    try {
      await this.#api.call('PUT', `sessions/${this.#sessionId}/feed`, body);
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'console_unknown') return;
      // The page slept for longer than the server waits.
      this.#sessionId = undefined;
      await this.#client.stop();
      this.#client.start();
    }
  }

  /** The SDK asks for a user's session; a console has one of its own kind. */
  readonly #fetch: typeof fetch = async (input, init) => {
    const url = (input as string).replace(`${BASE}/v1/sessions`, `${BASE}/v1/admin/sessions`);
    const response = await fetch(url, init);
    // Another one takes the key or JWT, which is kept nowhere.
    if (response.status === 401) this.#api.onEnded();
    if (response.ok && init?.method === 'POST' && url.endsWith('/sessions')) {
      const { sessionId } = (await response.clone().json()) as SessionGrant;
      const isNew = sessionId !== this.#sessionId;
      this.#sessionId = sessionId;
      if (isNew) this.#feedSoon();
    }
    return response;
  };
}

function memoryStorage(): ClientStorage {
  const values = new Map<string, string>();
  return {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => void values.set(key, value),
    removeItem: (key) => void values.delete(key),
  };
}
