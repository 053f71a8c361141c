import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import type { Friends, Marks, Room } from './events.js';

interface Data {
  friends: Record<string, string[]>;
  /** By whom they are for. */
  requests: Record<string, string[]>;
  rooms: Record<string, { name: string; members: string[] }>;
  marks: Marks;
}

/**
 * Friends, rooms, and how far each has read: what your database holds. Here it is a JSON file. The messages
 * themselves are in Warren's history.
 */
export class ChatStore {
  readonly #file: string;
  readonly #data: Data;
  #writing: Promise<void> | undefined;
  #changed = false;

  constructor(file: string) {
    this.#file = file;
    this.#data = read(file);
  }

  friendsOf(user: string): Friends {
    const { friends, requests } = this.#data;
    return { friends: friends[user] ?? [], requests: requests[user] ?? [] };
  }

  areFriends(one: string, other: string): boolean {
    return this.friendsOf(one).friends.includes(other);
  }

  /** @returns whether they are friends now, since the other one had asked before. */
  askForFriendship(from: string, to: string): boolean {
    const { friends, requests } = this.#data;
    const waiting = (requests[from] ??= []);
    const accepted = waiting.includes(to);
    if (accepted) {
      requests[from] = waiting.filter((user) => user !== to);
      add((friends[from] ??= []), to);
      add((friends[to] ??= []), from);
    } else {
      add((requests[to] ??= []), from);
    }
    this.#save();
    return accepted;
  }

  roomsOf(user: string): Room[] {
    return Object.keys(this.#data.rooms)
      .filter((id) => this.membersOf(id).includes(user))
      .map((id) => this.room(id));
  }

  room(id: string): Room {
    const { name = id, members = [] } = this.#data.rooms[id] ?? {};
    return { id, name, members: members.length };
  }

  /** Nobody, when there is no such room. */
  membersOf(id: string): readonly string[] {
    return this.#data.rooms[id]?.members ?? [];
  }

  /** Makes the room, if need be. */
  join(id: string, name: string, users: readonly string[]): Room {
    const { members } = (this.#data.rooms[id] ??= { name, members: [] });
    for (const user of users) add(members, user);
    this.#save();
    return this.room(id);
  }

  marksIn(conversations: readonly string[]): Marks {
    return Object.fromEntries(conversations.map((name) => [name, this.#data.marks[name] ?? {}]));
  }

  /** @returns whether it was news. */
  mark(conversation: string, user: string, at: number): boolean {
    const marks = (this.#data.marks[conversation] ??= {});
    if ((marks[user] ?? 0) >= at) return false;
    marks[user] = at;
    this.#save();
    return true;
  }

  /** One write at a time; what changes meanwhile is in the next one. */
  #save(): void {
    this.#changed = true;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  async #write(): Promise<void> {
    while (this.#changed) {
      this.#changed = false;
      const passing = `${this.#file}.new`;
      await writeFile(passing, JSON.stringify(this.#data), { mode: 0o600 });
      await rename(passing, this.#file);
    }
  }
}

function read(file: string): Data {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Data;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { friends: {}, requests: {}, rooms: {}, marks: {} };
  }
}

function add(list: string[], item: string): void {
  if (!list.includes(item)) list.push(item);
}
