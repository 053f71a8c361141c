import type { Client } from '@warren/client';
import type { NotificationEvents } from '../src/events.js';

export interface Banner {
  id: string;
  title: string;
  text: string;
}

/**
 * The banners that this device still shows: kept in the browser, so that a reload does not lose what was acked,
 * until its user dismisses them here or elsewhere.
 */
export class Banners {
  readonly #client: Client<NotificationEvents>;
  /** Each banner has an entry of its own: tabs that write one list would overwrite each other's changes. */
  readonly #prefix: string;
  readonly #listeners = new Set<() => void>();
  #shown: readonly Banner[];

  constructor(client: Client<NotificationEvents>) {
    this.#client = client;
    this.#prefix = `banner:${client.userId}:${client.deviceId}:`;
    this.#shown = this.#saved();
    // Once for the device: what is acked is saved.
    client.handle('notification', ({ id = '', data }) => {
      localStorage.setItem(this.#prefix + id, JSON.stringify({ id, ...data }));
    });
    client.handle('*', () => undefined);
    // In every tab. What another tab has saved may come to this one later than its message.
    client.observe('notification', ({ id = '', data }) => {
      this.#show([...this.#without([id]), { id, ...data }]);
    });
    client.on('read', ({ ids }) => {
      this.#remove(ids);
    });
  }

  readonly getShown = (): readonly Banner[] => this.#shown;
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** The other tabs and devices are told, and the sender is; later, if there is no network. */
  dismiss(id: string): void {
    this.#client.markRead(id);
    this.#remove([id]);
  }

  #remove(ids: readonly string[]): void {
    for (const id of ids) localStorage.removeItem(this.#prefix + id);
    this.#show(this.#without(ids));
  }

  #without(ids: readonly string[]): Banner[] {
    return this.#shown.filter(({ id }) => !ids.includes(id));
  }

  #show(banners: readonly Banner[]): void {
    this.#shown = banners;
    for (const listener of this.#listeners) listener();
  }

  #saved(): Banner[] {
    return Object.keys(localStorage)
      .filter((key) => key.startsWith(this.#prefix))
      .map((key) => JSON.parse(localStorage.getItem(key) ?? '{}') as Banner)
      .sort((one, other) => one.id.localeCompare(other.id));
  }
}
