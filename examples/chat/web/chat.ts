import { getClient, type Client, type Message, type Snapshot } from '@warren/client';
import type { Login } from '@warren/example-common/page';
import {
  conversationOf,
  groupOf,
  type ChatEvents,
  type Friends,
  type Marks,
  type Overview,
  type Room,
  type Target,
} from '../src/events.js';
import { toLine, Transcript, type Line } from './transcript.js';
import { Typing } from './typing.js';

/** A conversation as the view shows it. */
export interface Conversation {
  key: string;
  to: Target;
  title: string;
  members: number;
  lines: readonly Line[];
  hasOlder: boolean;
  unread: number;
  /** Who writes at this moment. */
  typing: readonly string[];
  /** How far each has read. */
  marks: Readonly<Record<string, number>>;
}

export interface View extends Friends {
  connection: Snapshot;
  conversations: readonly Conversation[];
  /** The key of the one that is open. */
  open: string | undefined;
  problem: string | undefined;
}

const PAGE = 50;
const TELL_TYPING_MS = 2000;
const TELL_READ_MS = 300;
/** Several changes in so many milliseconds are painted once. */
const PAINT_MS = 30;

/** All that one user's page knows, and what it can do. */
export class Chat {
  readonly user: string;
  readonly client: Client<ChatEvents>;
  readonly #call: Login['call'];
  readonly #targets = new Map<string, { to: Target; title: string; members: number }>();
  readonly #transcripts = new Map<string, Transcript>();
  readonly #typing = new Typing(() => {
    this.#paint();
  });
  readonly #listeners = new Set<() => void>();
  #friends: Friends = { friends: [], requests: [] };
  #marks: Marks = {};
  #open: string | undefined;
  #problem: string | undefined;
  #toldTypingAt = 0;
  /** Up to where, in the conversations of which the server does not know it yet. */
  readonly #toTellRead = new Map<string, number>();
  /** Lines go up one after the other, so that they arrive in their order. */
  #sending: Promise<unknown> = Promise.resolve();
  #view: View;
  #painting: ReturnType<typeof setTimeout> | undefined;

  constructor({ user, call, getToken }: Login) {
    this.user = user;
    this.#call = call;
    this.client = getClient<ChatEvents>({ apiUrl: location.origin, userId: user, getToken });
    this.#view = this.#look();
    const { client } = this;
    // Once for the device: what is acked is saved.
    client.handle('chat.message', (message) => {
      this.#transcriptOf(this.#keyOf(message)).save(toLine(message));
    });
    client.handle('*', () => undefined);
    // In every tab.
    client.observe('chat.message', (message) => {
      this.#showLine(message);
    });
    client.observe('chat.typing', (message) => {
      const { from = user } = message;
      if (from !== user) this.#typing.begin(this.#keyOf(message), from);
    });
    client.observe('chat.read', (message) => {
      this.#mark(this.#keyOf(message), message.from ?? '', message.data.at);
    });
    client.observe('friends.changed', ({ data }) => {
      this.#takeFriends(data);
    });
    client.observe('room.joined', ({ data }) => {
      this.#takeRooms([data]);
    });
    // What was live is missed while there is no connection, and a gap is what the mailbox has lost.
    client.on('gap', () => {
      for (const transcript of this.#transcripts.values()) transcript.noteGap();
      void this.#load();
    });
    let wasReceiving = false;
    client.subscribe(() => {
      const { receiving } = client.getSnapshot();
      if (receiving && !wasReceiving) void this.#load();
      wasReceiving = receiving;
      this.#paint();
    });
    document.addEventListener('visibilitychange', () => {
      this.#readOpen();
    });
  }

  readonly getView = (): View => this.#view;
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  openConversation(key: string | undefined): void {
    this.#open = key;
    this.#readOpen();
    this.#paint();
  }

  /** @param id of a line that has failed: it is sent again. */
  say(to: Target, text: string, id: string = crypto.randomUUID()): void {
    const transcript = this.#transcriptOf(conversationOf(to, this.user));
    const line: Line = {
      id: `${this.user}.${id}`,
      from: this.user,
      text,
      at: Number.MAX_SAFE_INTEGER,
      state: 'sending',
    };
    transcript.add(line);
    this.#paint();
    this.#sending = this.#sending.then(async () => {
      try {
        await this.#call('POST', 'messages', { to, text, id });
      } catch {
        // Unless it came all the same.
        const isHere = transcript.lines.some(
          (known) => known.id === line.id && known.state === 'sent',
        );
        if (!isHere) transcript.add({ ...line, state: 'failed' });
        this.#paint();
      }
    });
  }

  /** To be called at each key: it is told from time to time. */
  type(to: Target): void {
    if (Date.now() - this.#toldTypingAt < TELL_TYPING_MS) return;
    this.#toldTypingAt = Date.now();
    // Who does not hear of it misses nothing.
    this.#call('POST', 'typing', to).catch(() => undefined);
  }

  async loadOlder(key: string): Promise<void> {
    const transcript = this.#transcriptOf(key);
    const target = this.#targets.get(key);
    if (target !== undefined && transcript.older !== undefined)
      await this.#loadPage(transcript, target.to, transcript.older);
    this.#paint();
  }

  /** Asks for somebody's friendship, or grants it. */
  befriend(user: string): Promise<void> {
    return this.#try('POST', `friends/${encodeURIComponent(user)}`);
  }

  makeRoom(name: string, members: readonly string[]): Promise<void> {
    return this.#try('POST', 'rooms', { name, members });
  }

  /** What the server has, and the newest of each conversation; what is here already stays. */
  async #load(): Promise<void> {
    try {
      const { rooms, friends, requests, marks } = await this.#call<Overview>('GET', 'me');
      this.#takeRooms(rooms);
      this.#takeFriends({ friends, requests });
      this.#takeMarks(marks);
      this.#problem = undefined;
      const pages = [...this.#targets].map(([key, { to }]) =>
        this.#loadPage(this.#transcriptOf(key), to),
      );
      await Promise.all(pages);
      this.#readOpen();
    } catch {
      this.#problem = 'Your conversations could not be loaded. They are when the network is back.';
    }
    this.#paint();
  }

  async #loadPage(transcript: Transcript, to: Target, before?: string): Promise<void> {
    const { messages, next } = await this.client.history<'chat.message'>({
      ...('room' in to ? { group: groupOf(to.room) } : { with: to.user }),
      ...(before !== undefined && { before }),
      limit: PAGE,
    });
    if (before === undefined) transcript.addNewestPage(messages.map(toLine), next);
    else transcript.addOlderPage(messages.map(toLine), next);
  }

  #showLine(message: Message<ChatEvents['chat.message']>): void {
    const key = this.#keyOf(message);
    const line = toLine(message);
    this.#transcriptOf(key).addNewest(line);
    // Who has written has stopped writing.
    this.#typing.end(key, line.from);
    if (key === this.#open) this.#readOpen();
    this.#paint();
  }

  /** All that the user sees now is read; other devices, and those who wrote it, are told. */
  #readOpen(): void {
    const conversation = this.#open === undefined ? undefined : this.#conversation(this.#open);
    if (conversation === undefined || document.visibilityState !== 'visible') return;
    const { key, to } = conversation;
    const unread = this.#unreadIn(key);
    const last = unread.at(-1);
    if (last === undefined) return;
    this.#mark(key, this.user, last.at);
    // Their notifications go, wherever they are shown.
    this.client.markRead(...unread.map(({ id }) => id));
    this.#tellRead(to, last.at);
  }

  /** Now and then: in a busy room something is read at every moment. */
  #tellRead(to: Target, at: number): void {
    const key = conversationOf(to, this.user);
    const isComing = this.#toTellRead.has(key);
    this.#toTellRead.set(key, at);
    if (isComing) return;
    setTimeout(() => {
      const newest = this.#toTellRead.get(key);
      this.#toTellRead.delete(key);
      // If this fails, it is told when there is a connection again.
      this.#call('POST', 'read', { to, at: newest }).catch(() => undefined);
    }, TELL_READ_MS);
  }

  #unreadIn(key: string): Line[] {
    const read = this.#marks[key]?.[this.user] ?? 0;
    return this.#transcriptOf(key).lines.filter(
      ({ from, at, state }) => from !== this.user && state === 'sent' && at > read,
    );
  }

  #mark(key: string, user: string, at: number): void {
    const marks = this.#marks[key] ?? {};
    this.#marks = { ...this.#marks, [key]: { ...marks, [user]: Math.max(marks[user] ?? 0, at) } };
    this.#paint();
  }

  #takeMarks(marks: Marks): void {
    for (const [key, byUser] of Object.entries(marks)) {
      for (const [user, at] of Object.entries(byUser)) this.#mark(key, user, at);
      // What was read while the server could not be told.
      const own = this.#marks[key]?.[this.user] ?? 0;
      const target = this.#targets.get(key);
      if (target !== undefined && own > (byUser[this.user] ?? 0)) this.#tellRead(target.to, own);
    }
  }

  #takeRooms(rooms: readonly Room[]): void {
    for (const { id, name, members } of rooms) {
      const to = { room: id };
      this.#targets.set(conversationOf(to, this.user), { to, title: name, members });
    }
    this.#paint();
  }

  #takeFriends(friends: Friends): void {
    this.#friends = friends;
    for (const user of friends.friends) {
      const to = { user };
      this.#targets.set(conversationOf(to, this.user), { to, title: user, members: 2 });
    }
    this.#paint();
  }

  #keyOf({ from, data }: Pick<Message<{ to: Target }>, 'from' | 'data'>): string {
    return conversationOf(data.to, from ?? '');
  }

  #transcriptOf(key: string): Transcript {
    const known = this.#transcripts.get(key);
    if (known !== undefined) return known;
    const made = new Transcript(`chat:${this.user}:${key}`);
    this.#transcripts.set(key, made);
    return made;
  }

  /** What the user has done and the server would not have is said. */
  async #try(method: string, path: string, body?: object): Promise<void> {
    try {
      await this.#call(method, path, body);
      this.#problem = undefined;
    } catch (error) {
      this.#problem = error instanceof Error ? error.message : String(error);
    }
    this.#paint();
  }

  #conversation(key: string): Conversation | undefined {
    const target = this.#targets.get(key);
    if (target === undefined) return undefined;
    const transcript = this.#transcriptOf(key);
    return {
      key,
      ...target,
      lines: transcript.lines,
      hasOlder: transcript.older !== undefined,
      unread: this.#unreadIn(key).length,
      typing: this.#typing.in(key),
      marks: this.#marks[key] ?? {},
    };
  }

  #look(): View {
    const conversations = [...this.#targets.keys()].map((key) => this.#conversation(key));
    return {
      ...this.#friends,
      connection: this.client.getSnapshot(),
      conversations: conversations.filter((each) => each !== undefined),
      open: this.#open,
      problem: this.#problem,
    };
  }

  #paint(): void {
    this.#painting ??= setTimeout(() => {
      this.#painting = undefined;
      this.#view = this.#look();
      for (const listener of this.#listeners) listener();
    }, PAINT_MS);
  }
}
