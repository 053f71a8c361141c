import { z } from 'zod';
import { MAX_TTL_MS } from './limits.js';
import { idSchema } from './rest.js';

/** How long a message waits for an ack before its recipient gets a push, in milliseconds. */
export const DEFAULT_PUSH_AFTER_MS = 3000;
export const MAX_PUSH_AFTER_MS = 24 * 60 * 60 * 1000;
/**
 * What a push says has so many bytes at most, as JSON, in each language: providers end at 4,096 with all
 * that they add.
 */
export const MAX_PUSH_BYTES = 3000;

const MAX_LANGUAGES = 50;
const LANGUAGE = /^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$/;
const languageSchema = z
  .string()
  .regex(LANGUAGE, { error: 'must be a language tag, as "de" or "pt-BR"' });

const TEXTS = {
  title: z.string().min(1).max(200),
  body: z.string().min(1).max(2000),
};

/** `push` in the body of `POST /v1/messages`: what a recipient's devices show who has not acked in time. */
export const pushSchema = z
  .strictObject({
    ...TEXTS,
    /** The same in other languages: a device gets the one that it was registered with, or its first part. */
    localized: z
      .record(languageSchema, z.strictObject(TEXTS))
      .refine((texts) => Object.keys(texts).length <= MAX_LANGUAGES, {
        error: `must have ${String(MAX_LANGUAGES)} languages at most`,
      })
      .optional(),
    /** Any JSON for the app that opens it. */
    data: z.unknown().optional(),
    /** How long to wait for an ack, in milliseconds; 0: a push at once. */
    afterMs: z.int().min(0).max(MAX_PUSH_AFTER_MS).default(DEFAULT_PUSH_AFTER_MS),
    /** The number on the app's icon. */
    badge: z.int().min(0).max(1_000_000).optional(),
    /** The name of a sound that the app has. */
    sound: z.string().min(1).max(100).optional(),
    /** A push replaces the one with the same id that is still shown. Default: the message's id. */
    collapseId: z
      .string()
      .regex(/^[\x21-\x7e]{1,64}$/, { error: 'must have 1 to 64 printable ASCII characters' })
      .optional(),
    /** How long providers may try to hand it over, in milliseconds. Default: as long as the message waits. */
    ttlMs: z.int().positive().max(MAX_TTL_MS).optional(),
  })
  .superRefine(({ title, body, localized = {}, data }, context) => {
    for (const texts of [{ title, body }, ...Object.values(localized)]) {
      if (sizeOf({ ...texts, data }) <= MAX_PUSH_BYTES) continue;
      const message = `must have ${String(MAX_PUSH_BYTES)} bytes at most, title, body and data together`;
      context.addIssue({ code: 'custom', message });
      return;
    }
  });
export type Push = z.infer<typeof pushSchema>;
/** As a back end writes it: what has a default may be left out. */
export type PushInput = z.input<typeof pushSchema>;

/** Of JSON that is nested too deeply to be written, more than any limit. */
function sizeOf(value: unknown): number {
  try {
    return Buffer.byteLength(JSON.stringify(value), 'utf8');
  } catch {
    return Infinity;
  }
}

/** By whom a push reaches a device. */
export const pushProviderSchema = z.enum(['webpush', 'fcm', 'webhook']);
export type PushProviderName = z.infer<typeof pushProviderSchema>;

const TIME = /^([01]\d|2[0-3]):[0-5]\d$/;
const timeSchema = z.string().regex(TIME, { error: 'must be a time of day, as "22:30"' });

/** As it is written in the list of them, whatever its case; undefined for what is none. */
function timeZoneIn(timeZone: string): string | undefined {
  try {
    return new Intl.DateTimeFormat('en', { timeZone }).resolvedOptions().timeZone;
  } catch {
    return undefined;
  }
}

/** When a device wants no push: what comes then waits for the end, if it may wait so long. */
export const quietHoursSchema = z
  .object({
    from: timeSchema,
    to: timeSchema,
    timeZone: z
      .string()
      .max(64)
      .refine((text) => timeZoneIn(text) !== undefined, {
        error: 'must be a time zone, as "Europe/Berlin"',
      })
      // Each has one spelling: what is kept of a time zone would be kept of millions.
      .overwrite((text) => timeZoneIn(text) ?? text),
  })
  .refine(({ from, to }) => from !== to, { error: 'must end at another time than they begin' });
export type QuietHours = z.infer<typeof quietHoursSchema>;

export const pushPreferencesSchema = z.object({
  /** Groups whose messages are not pushed to this device. */
  mutedGroups: z.array(idSchema).max(1000).default([]),
  quietHours: quietHoursSchema.optional(),
  /**
   * - `message`: each push is shown by itself, unless its sender says otherwise by `collapseId`.
   * - `conversation`: the newest of a group, or of a sender, replaces the one before.
   */
  collapse: z.enum(['message', 'conversation']).default('message'),
});
export type PushPreferences = z.infer<typeof pushPreferencesSchema>;

const COMMON = {
  /** The language that its pushes are to have. Default: that of the push itself. */
  language: languageSchema.optional(),
  preferences: pushPreferencesSchema.prefault({}),
};
const tokenSchema = z.string().regex(/^[\x21-\x7e]{1,4096}$/, {
  error: 'must have 1 to 4096 printable ASCII characters and no space',
});
const keySchema = z.string().regex(/^[A-Za-z0-9_-]{1,200}$/, { error: 'must be base64url' });

/** As `PushSubscription.toJSON()` gives it; other fields are ignored. */
export const pushSubscriptionSchema = z.object({
  endpoint: z.url({ protocol: /^https?$/ }).max(2000),
  keys: z.object({ p256dh: keySchema, auth: keySchema }),
});
export type PushSubscriptionKeys = z.infer<typeof pushSubscriptionSchema>;

/** The body of `PUT /v1/me/push-devices/:id`. Unknown fields are ignored, for clients newer than the server. */
export const pushDeviceBodySchema = z.discriminatedUnion('provider', [
  z.object({
    provider: z.literal('webpush'),
    subscription: pushSubscriptionSchema,
    ...COMMON,
  }),
  z.object({ provider: z.literal('fcm'), token: tokenSchema, ...COMMON }),
  /** Whatever the application's own push proxy knows a device by. */
  z.object({ provider: z.literal('webhook'), token: tokenSchema, ...COMMON }),
]);
export type PushDeviceBody = z.infer<typeof pushDeviceBodySchema>;

/** A registration, without what it is reached by. */
export const pushDeviceSchema = z.object({
  id: z.string(),
  provider: pushProviderSchema,
  language: z.string().optional(),
  preferences: pushPreferencesSchema,
  /** ISO 8601. */
  updatedAt: z.iso.datetime(),
});
export type PushDeviceState = z.infer<typeof pushDeviceSchema>;

/** What `GET /v1/me/push-devices` answers. */
export const pushDevicesReplySchema = z.object({
  devices: z.array(pushDeviceSchema),
  /** What a browser subscribes with (`applicationServerKey`), as base64url; missing without Web Push. */
  vapidPublicKey: z.string().optional(),
});
export type PushDevicesReply = z.infer<typeof pushDevicesReplySchema>;

/** What a service worker is handed by Web Push, as JSON. */
export interface PushPayload {
  /** The message's. */
  id: string;
  type: string;
  /** Whose device it is registered for. */
  user: string;
  title: string;
  body: string;
  /** Shown instead of what has the same tag. */
  tag: string;
  data?: unknown;
  badge?: number;
  sound?: string;
}

/** One push as a push proxy gets it. */
export interface ProxiedPush extends PushPayload {
  /** The same whenever it is posted again: to be taken once. */
  key: string;
  device: string;
  token: string;
  language?: string;
  /** ISO 8601: afterwards it is of no use. */
  expiresAt: string;
}

/** What is posted to the push proxy, signed. */
export interface PushProxyBody {
  pushes: ProxiedPush[];
}

/**
 * What a push proxy may answer with 2xx, besides nothing at all. A push that is not mentioned was taken.
 * - `unregistered`: the token is dead; it is removed. - `refused`: not this push, and not later.
 * - `retry`: later, perhaps.
 */
export const pushProxyReplySchema = z.object({
  results: z
    .array(
      z.object({
        key: z.string(),
        status: z.enum(['sent', 'unregistered', 'refused', 'retry']),
        reason: z.string().max(100).optional(),
      }),
    )
    .default([]),
});
