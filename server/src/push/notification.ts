import { createHash } from 'node:crypto';
import type { Push, PushPayload } from '@warren/protocol';
import type { PushedMessage } from '../storage/push-decisions.js';
import type { PushDevice } from '../storage/push-devices.js';
import type { OutgoingPush } from './providers/provider.js';

/** A push of a live message is worth something for so long after its time has come, in milliseconds. */
const LIVE_MS = 10_000;

/** Until when providers may try to hand a push over, in milliseconds since 1970. */
export function pushExpiresAt(
  { afterMs, ttlMs }: Push,
  { createdAt, expiresAt }: { createdAt: number; expiresAt: number },
): number {
  const dueAt = createdAt + afterMs;
  return ttlMs === undefined ? Math.max(expiresAt, dueAt + LIVE_MS) : dueAt + ttlMs;
}

/** What one device gets of a message. */
export function toOutgoing(message: PushedMessage, device: PushDevice): OutgoingPush {
  const { id, type, push } = message;
  const { userId: user, deviceId, token, language } = device;
  const { data, badge, sound } = push;
  const shared = push.collapseId ?? conversationOf(message, device);
  const payload: PushPayload = {
    id,
    type,
    user,
    ...textsFor(push, language),
    tag: shared ?? id,
    ...(data !== undefined && { data }),
    ...(badge !== undefined && { badge }),
    ...(sound !== undefined && { sound }),
  };
  return {
    key: digest(id, user, deviceId),
    device: deviceId,
    token,
    language,
    payload,
    replaces: shared !== undefined,
    expiresAt: pushExpiresAt(push, message),
  };
}

function textsFor({ title, body, localized = {} }: Push, language: string | undefined) {
  const texts = new Map(Object.entries(localized).map(([tag, text]) => [tag.toLowerCase(), text]));
  const wanted = language?.toLowerCase() ?? '';
  return texts.get(wanted) ?? texts.get(wanted.split('-')[0] ?? '') ?? { title, body };
}

/** What the newest push replaces the others of, where the device wants that. */
function conversationOf(
  { target, from }: PushedMessage,
  { preferences }: PushDevice,
): string | undefined {
  if (preferences.collapse !== 'conversation') return undefined;
  if ('group' in target) return digest('group', target.group);
  return from === undefined ? undefined : digest('user', from);
}

const digest = (...parts: string[]): string =>
  createHash('sha256').update(JSON.stringify(parts), 'utf8').digest('base64url');
