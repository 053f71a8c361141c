import type { WarrenApi } from '@warren/example-common';
import { groupOf, type ChatEvents, type Target } from './events.js';
import type { ChatStore } from './store.js';

/** Pushes, read receipts and typing are for conversations of so many; in larger ones they would be a flood. */
const INTIMATE = 20;

/** Sends what users do to those whom it concerns. Has checked nothing: who may do it is for the routes to say. */
export class Messenger {
  readonly #api: WarrenApi;
  readonly #store: ChatStore;
  #lastAt = 0;

  constructor(api: WarrenApi, store: ChatStore) {
    this.#api = api;
    this.#store = store;
  }

  /**
   * A chat line: it waits in the mailboxes of all devices, and the history keeps it.
   * @param id the same when the page tries again, so that it is handled once; of this sender alone.
   */
  async say(from: string, to: Target, text: string, id: string): Promise<void> {
    const message = {
      type: 'chat.message',
      // So that nobody can take the id of somebody else's message.
      id: `${from}.${id}`,
      from,
      data: { to, text, at: this.#now() },
      delivery: 'stored',
    };
    if ('room' in to) {
      const { name } = this.#store.room(to.room);
      const push = { title: name, body: `${from}: ${text}`, data: { to } };
      const audience = { to: { group: groupOf(to.room) } };
      await this.#post({ ...message, ...audience, ...(this.#isIntimate(to) && { push }) });
      return;
    }
    const push = { title: from, body: text, data: { to: { user: from } } };
    // The sender's own devices show it too. The history has it already: it is the same conversation.
    const copy = { ...message, to: { user: from }, delivery: 'queued' };
    await this.#post({ ...message, to, push }, copy);
  }

  /** For who is connected now. */
  async type(from: string, to: Target): Promise<void> {
    if (!this.#isIntimate(to)) return;
    const audience = 'room' in to ? { group: groupOf(to.room) } : to;
    await this.#post({ to: audience, type: 'chat.typing', from, data: { to }, delivery: 'live' });
  }

  /** For who is connected now; others read it when they open the page. */
  async tellRead(from: string, to: Target, at: number): Promise<void> {
    const everybody = 'room' in to ? { group: groupOf(to.room) } : { users: [to.user, from] };
    const audience = this.#isIntimate(to) ? everybody : { user: from };
    const data: ChatEvents['chat.read'] = { to, at };
    await this.#post({ to: audience, type: 'chat.read', from, data, delivery: 'live' });
  }

  /** The list as it is now, to all devices of each; who is asked for something gets a push. */
  async tellFriends(users: readonly string[], news?: { user: string; text: string }) {
    const messages = users.map((user) => ({
      to: { user },
      type: 'friends.changed',
      data: this.#store.friendsOf(user),
      collapseKey: 'friends',
      ...(news?.user === user && { push: { title: 'Chat', body: news.text } }),
    }));
    await this.#post(...messages);
  }

  async addToRoom(room: string, name: string, users: string[]): Promise<void> {
    await this.#api.call('POST', `groups/${groupOf(room)}/members`, { add: users });
    const joined: ChatEvents['room.joined'] = this.#store.join(room, name, users);
    // In a small room everybody sees how many they are.
    const told = this.#isIntimate({ room }) ? this.#store.membersOf(room) : users;
    await this.#post({ to: { users: told }, type: 'room.joined', data: joined });
  }

  #isIntimate(to: Target): boolean {
    return 'user' in to || this.#store.membersOf(to.room).length <= INTIMATE;
  }

  /** @throws {Error} unless all of them have been confirmed. */
  async #post(...messages: object[]): Promise<void> {
    const { results } = await this.#api.call<{
      results: { status: number; problem?: { code: string } }[];
    }>('POST', 'messages/batch', { messages });
    // A message that was sent before, by an attempt whose answer was lost: its content had another `at`.
    const failed = results.find(
      ({ status, problem }) => status !== 202 && problem?.code !== 'id_reused',
    );
    if (failed !== undefined) throw new Error(`not sent: ${failed.problem?.code ?? 'unknown'}`);
  }

  /** Milliseconds since 1970, but never the same twice. */
  #now(): number {
    this.#lastAt = Math.max(Date.now(), this.#lastAt + 1);
    return this.#lastAt;
  }
}
