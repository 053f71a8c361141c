import { TIMELINE_MS, type DeadLetter } from '@warren/protocol';
import type { DeadLetters } from '../dead-letters/dead-letters.js';
import type { History } from '../history/history.js';
import type { Storage } from '../storage/index.js';
import { UNCLAIMED } from '../storage/devices.js';
import type { Timeline } from '../timeline/timeline.js';

export interface UserExportOptions {
  storage: Storage;
  history: History;
  timeline: Timeline;
  deadLetters: DeadLetters;
}

const PAGE = 1000;
const isoOf = (at: number | null | undefined): string | null =>
  at == null ? null : new Date(at).toISOString();

/** All that the database has of a user, for whoever has a right to a copy. */
export class UserExport {
  readonly #options: UserExportOptions;

  constructor(options: UserExportOptions) {
    this.#options = options;
  }

  /**
   * JSON objects, each with a `kind` and on a line of its own. Of somebody who is not known there is the first one
   * alone. What waits in mailboxes is on the broker, and not among them.
   */
  async *lines(userId: string): AsyncGenerator<string> {
    const { storage, history } = this.#options;
    const seen = await storage.presence.lastSeen([userId]);
    yield line('user', {
      user: userId,
      exportedAt: isoOf(Date.now()),
      knownSince: isoOf(await storage.devices.userSince(userId)),
      lastSeenAt: isoOf(seen.get(userId)),
    });
    yield* this.#devices(userId);
    for (const group of await storage.groups.listOf(userId)) yield line('group', { group });
    yield* this.#trail(userId);
    for await (const item of history.ownItems(userId)) yield `{"kind":"stored",${item.slice(1)}\n`;
  }

  async *#devices(userId: string): AsyncGenerator<string> {
    const { devices, pushDevices } = this.#options.storage;
    for (const row of await devices.listOf(userId)) {
      yield line('device', {
        deviceId: row.device_id === UNCLAIMED ? null : row.device_id,
        name: row.name,
        platform: row.platform,
        createdAt: isoOf(row.created_at),
        lastSeenAt: isoOf(row.last_seen_at),
      });
    }
    // Without the token, which is a secret.
    for (const { deviceId, provider, language, preferences, updatedAt } of await pushDevices.listOf(
      userId,
    )) {
      const at = isoOf(updatedAt);
      yield line('push_device', { deviceId, provider, language, preferences, updatedAt: at });
    }
  }

  async *#trail(userId: string): AsyncGenerator<string> {
    const { storage, timeline, deadLetters } = this.#options;
    const since = new Date(Date.now() - TIMELINE_MS).toISOString();
    for (let before: string | undefined, isFirst = true; isFirst || before !== undefined;) {
      isFirst = false;
      const { entries, next } = await timeline.read(userId, { since, before, limit: PAGE });
      for (const { kind: what, ...entry } of entries) yield line('timeline', { what, ...entry });
      before = next;
    }
    for (let after: string | undefined = ''; after !== undefined;) {
      const messages = await storage.userTrail.listMessages(userId, after, PAGE);
      for (const message of messages) {
        const { sentAt, outcomeAt, deliveredAt, readAt, pushedAt, ...rest } = message;
        yield line('message', {
          ...rest,
          sentAt: isoOf(sentAt),
          outcomeAt: isoOf(outcomeAt),
          deliveredAt: isoOf(deliveredAt),
          readAt: isoOf(readAt),
          pushedAt: isoOf(pushedAt),
        });
      }
      after = messages.length < PAGE ? undefined : messages.at(-1)?.id;
    }
    for (let after: number | undefined, isFirst = true; isFirst || after !== undefined;) {
      isFirst = false;
      const query = { user: userId, after, limit: PAGE };
      const { letters, next }: { letters: DeadLetter[]; next?: number | undefined } =
        await deadLetters.list(query);
      for (const { id } of letters) {
        for (const letter of await deadLetters.details([id])) yield line('dead_letter', letter);
      }
      after = next;
    }
  }
}

const line = (kind: string, body: object): string => `${JSON.stringify({ kind, ...body })}\n`;
