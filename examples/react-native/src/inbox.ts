import { getClient, type Client, type ClientOptions, type Snapshot } from '@warren/client';

/** What the server sends. */
export interface Events {
  note: { title: string; text: string };
}

export interface Note {
  id: string;
  title: string;
  text: string;
  isRead: boolean;
}

/** What the screen shows. */
export interface InboxView {
  notes: readonly Note[];
  connection: Snapshot;
}

/** What is used of AsyncStorage. */
export interface NoteStorage {
  getItem: (key: string) => Promise<string | null>;
  setItem: (key: string, value: string) => Promise<unknown>;
}

const MOST = 200;

/**
 * The notes of one user on this phone. It knows nothing of React Native, so that its tests need none:
 * `options.platform` and `options.storage` say where it runs.
 */
export class Inbox {
  readonly client: Client<Events>;
  readonly #storage: NoteStorage;
  readonly #key: string;
  readonly #listeners = new Set<() => void>();
  #notes: readonly Note[];
  #view: InboxView;

  private constructor(options: ClientOptions, storage: NoteStorage, notes: readonly Note[]) {
    this.#storage = storage;
    this.#key = keyOf(options.userId);
    this.#notes = notes;
    this.client = getClient<Events>(options);
    this.#view = this.#look();
    // It is acked when this resolves, and then it must be on the phone.
    this.client.handle('note', ({ id, data }) => this.#add({ id: id ?? '', ...data }));
    // An older app is sent what a newer one knows: acked, and not shown.
    this.client.handle('*', () => undefined);
    // Read on another device.
    this.client.on('read', ({ ids }) => void this.#markRead(ids));
    this.client.subscribe(() => {
      this.#paint();
    });
  }

  /** Reads what the phone has kept; the connection begins with `client.start()`. */
  static async open(options: ClientOptions, storage: NoteStorage): Promise<Inbox> {
    const kept = await storage.getItem(keyOf(options.userId));
    return new Inbox(options, storage, JSON.parse(kept ?? '[]') as Note[]);
  }

  readonly getView = (): InboxView => this.#view;
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** The user has seen a note: other devices are told, and their notifications go. */
  async read(id: string): Promise<void> {
    this.client.markRead(id);
    await this.#markRead([id]);
  }

  /** Whenever Firebase has a token, and when it has another one. */
  setPushToken(token: string): Promise<void> {
    return this.client.registerPush({ provider: 'fcm', token });
  }

  async #add(note: Omit<Note, 'isRead'>): Promise<void> {
    const others = this.#notes.filter(({ id }) => id !== note.id);
    await this.#keep([{ ...note, isRead: false }, ...others].slice(0, MOST));
  }

  #markRead(ids: readonly string[]): Promise<void> {
    return this.#keep(
      this.#notes.map((note) => (ids.includes(note.id) ? { ...note, isRead: true } : note)),
    );
  }

  async #keep(notes: readonly Note[]): Promise<void> {
    this.#notes = notes;
    this.#paint();
    await this.#storage.setItem(this.#key, JSON.stringify(notes));
  }

  #look(): InboxView {
    return { notes: this.#notes, connection: this.client.getSnapshot() };
  }

  #paint(): void {
    this.#view = this.#look();
    for (const listener of this.#listeners) listener();
  }
}

const keyOf = (userId: string): string => `notes:${userId}`;
