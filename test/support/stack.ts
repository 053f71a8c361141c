import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect } from 'amqplib';
import jwt from 'jsonwebtoken';
import { inject } from 'vitest';
import WebSocket from 'ws';
import {
  getClient,
  stomp,
  type Client,
  type ClientOptions,
  type Message,
  type Transport,
} from '@warren/client';
import { amqp } from '@warren/client/amqp';
import type {
  AdminMessage,
  AdminToken,
  AdminUser,
  AdminUsersReply,
  Audience,
  AuditReply,
  DeadLetter,
  DeadLettersDone,
  GroupState,
  HistoryItem,
  MembersPage,
  MembersReply,
  MemberState,
  MessageOutcome,
  PresenceReply,
  Problem,
  PurgeReply,
  PushDevicesReply,
  SendReply,
  SessionGrant,
  TimelineEntry,
  UserState,
} from '@warren/protocol';
import {
  createLogger,
  startServer,
  type Config,
  type RunningServer,
  type ServerExtras,
} from '@warren/server';
import { connectionJournalOf, EVENTS_VHOST, type BrokerEndpoints } from '@warren/rabbitmq';
import { until } from './until.js';

export const SERVICE_KEY = 'service-key-for-tests-only';
export const ADMIN_KEY = 'admin-key-for-tests-only';
export const VIEWER_KEY = 'viewer-key-for-tests-only';
export const USER_SECRET = 'a secret for user tokens that only tests know';

/** Both ways to the broker, as a test names them. STOMP goes by the `ws` package's sockets in Node. */
export const TRANSPORTS: Record<'stomp' | 'amqp', () => Transport> = {
  stomp: () =>
    stomp({
      createWebSocket: (url, protocols) =>
        new WebSocket(url, protocols) as unknown as globalThis.WebSocket,
    }),
  amqp,
};

/** Of pushes. */
export const NO_RATES = { webpush: 0, fcm: 0, webhook: 0 };

export interface StackOptions {
  /** Default: the shared broker. */
  endpoints?: BrokerEndpoints;
  signingKey?: string;
  config?: Partial<Config>;
  extras?: ServerExtras;
  /** How long the broker is waited for, in milliseconds. Default 10,000. */
  readyMs?: number;
  /** Receives the log's lines. Default: nothing is logged. */
  log?: (line: string) => void;
}

export interface Stack {
  dataDir: string;
  server: RunningServer;
  apiUrl: string;
  /** A request with the service key; `body` is sent as JSON. */
  api: (method: string, path: string, body?: unknown) => Promise<ApiReply>;
  send: (to: object, data: unknown, more?: object) => Promise<ApiReply>;
  /** A request below `/v1/admin/`, with the operator's key or another one. */
  admin: (method: string, path: string, body?: unknown, key?: string) => Promise<AdminReply>;
  /** Opens a session as a client does. */
  session: (userId: string, body: object) => Promise<SessionGrant>;
  user: (userId: string) => Promise<UserState>;
  /** A client that is not started yet; stopped with the stack. */
  client: (userId: string, transport: Transport, more?: Partial<ClientOptions>) => Client;
  close: () => Promise<void>;
}

export interface ApiReply {
  status: number;
  headers: Headers;
  body: ReplyBody;
}

/** Every field that some route of admins answers with. */
export interface AdminReply {
  status: number;
  headers: Headers;
  body: Problem &
    AdminToken &
    Audience &
    PurgeReply &
    DeadLettersDone &
    Omit<SessionGrant, 'token' | 'expiresAt'> &
    Omit<AdminMessage, 'id' | 'type' | 'next'> & {
      id: string | number;
      next?: string;
      users: AdminUsersReply['users'];
      groups: unknown[];
      letters: DeadLetter[];
      total: number;
      body: string;
      entries: (TimelineEntry & AuditReply['entries'][number])[];
      items: HistoryItem[];
      members: MembersPage['members'];
      pushDevices: AdminUser['pushDevices'];
    };
}

/** Every field that some route answers with; a test looks for those of its own. */
export type ReplyBody = {
  [Field in keyof SendReply]-?: NonNullable<SendReply[Field]>;
} & GroupState &
  MembersPage &
  MembersReply &
  MemberState & { results: (SendReply & { status: number; problem?: Problem })[] } & UserState &
  Omit<PushDevicesReply, 'devices'> &
  Problem & {
    errors: { path: string }[];
    items: HistoryItem[];
    complete: boolean;
    mark: string;
    counts: Partial<Record<MessageOutcome, number>>;
    users: PresenceReply['users'];
    detail: string;
    token: string;
    paths: Record<string, unknown>;
    components: { schemas: { Problem: { properties: { code: { enum: string[] } } } } };
  };

export const userToken = (userId: string, claims: object = {}): string =>
  jwt.sign({ sub: userId, ...claims }, USER_SECRET, { algorithm: 'HS256', expiresIn: '1h' });

/** Default: what suits the broker. */
const mailboxTypeForTests = (process.env['WARREN_TEST_MAILBOX_TYPE'] ??
  'auto') as Config['mailboxType'];

let users = 0;
/** An id that no other test uses. */
export const uniqueUser = (): string => `u${String(process.pid)}-${String(++users)}`;

/** A server on a free port, on the shared broker or on another one. */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const shared = inject('broker');
  const endpoints = options.endpoints ?? shared.endpoints;
  const dataDir = options.config?.dataDir ?? (await mkdtemp(join(tmpdir(), 'warren-server-')));
  const config: Config = {
    amqpUrl: endpoints.amqpUrl,
    managementUrl: endpoints.managementUrl,
    endpoints: { stomp: [endpoints.stompUrl], amqp: [endpoints.clientAmqpUrl] },
    signingKey: options.signingKey ?? shared.signingKey,
    serviceKeys: [SERVICE_KEY],
    adminKeys: [
      { key: ADMIN_KEY, role: 'operator' },
      { key: VIEWER_KEY, role: 'viewer' },
    ],
    brokerMetricsUrls: [endpoints.metricsUrl],
    userTokens: { key: { secret: USER_SECRET } },
    host: '127.0.0.1',
    port: 0,
    dataDir,
    corsOrigins: ['https://app.example'],
    names: {},
    databaseUrl: inject('databaseUrl'),
    webhooks: undefined,
    policyUrl: undefined,
    tls: undefined,
    sessionTtlSeconds: 3600,
    passingDeviceMs: 300_000,
    expiryGraceMs: 10_000,
    mailboxType: mailboxTypeForTests,
    maxDevices: 50,
    rateLimits: { perKey: 0, perUser: 0, broadcasts: 0 },
    history: { limits: { days: 0, count: 0 }, hasWorker: true },
    push: { providers: {}, limits: { attempts: 5, rates: NO_RATES }, hasWorker: true },
    logLevel: options.log === undefined ? 'silent' : 'debug',
    ...options.config,
  };
  const { log } = options;
  const logger =
    log === undefined
      ? createLogger('silent')
      : createLogger('debug', {
          write: (line: string) => {
            log(line);
          },
        });
  const server = await startServer(config, logger, options.extras);
  await server.warren.ready(options.readyMs ?? 10_000);
  const clients: Client[] = [];
  const api: Stack['api'] = (method, path, body) =>
    request(`${server.url}${path}`, method, SERVICE_KEY, body);
  return {
    dataDir,
    server,
    apiUrl: server.url,
    api,
    send: (to, data, more = {}) => api('POST', '/v1/messages', { to, type: 'note', data, ...more }),
    admin: (method, path, body, key = ADMIN_KEY) =>
      request(
        `${server.url}/v1/admin/${path}`,
        method,
        key,
        body,
      ) as Promise<unknown> as Promise<AdminReply>,
    session: async (userId, body) => {
      const reply = await request(`${server.url}/v1/sessions`, 'POST', userToken(userId), body);
      if (reply.status !== 201) throw new Error(`no session: ${JSON.stringify(reply.body)}`);
      return reply.body as unknown as SessionGrant;
    },
    user: async (userId) => {
      const { status, body } = await api('GET', `/v1/users/${encodeURIComponent(userId)}`);
      if (status >= 500) throw new Error(`no state: ${JSON.stringify(body)}`);
      return body;
    },
    client: (userId, transport, more = {}) => {
      const client = getClient({
        apiUrl: server.url,
        userId,
        deviceId: transport.name,
        getToken: () => userToken(userId),
        transport,
        backoffBaseMs: 50,
        backoffMaxMs: 500,
        handlerRetryDelayMs: 10,
        ...more,
      });
      clients.push(client);
      return client;
    },
    close: async () => {
      await Promise.all(clients.map((client) => client.stop()));
      await server.close();
      await rm(dataDir, { recursive: true, force: true });
      if (config.databaseUrl === undefined) await forgetDatabase(endpoints.amqpUrl, dataDir);
    },
  };
}

/**
 * Nothing waits any more for a server of the database in this directory; nobody minds when the broker is gone,
 * too.
 */
export async function forgetDatabase(amqpUrl: string, dataDir: string): Promise<void> {
  const url = new URL(amqpUrl);
  const vhost = decodeURIComponent(url.pathname.slice(1));
  url.pathname = `/${encodeURIComponent(EVENTS_VHOST)}`;
  const model = await connect(url.toString()).catch(() => undefined);
  model?.on('error', () => undefined);
  const channel = await model?.createChannel();
  channel?.on('error', () => undefined);
  await channel?.deleteQueue(connectionJournalOf(vhost, resolve(dataDir))).catch(() => undefined);
  await model?.close().catch(() => undefined);
}

/** A JSON request; whatever comes back is parsed where it can be. */
export async function request(
  url: string,
  method: string,
  bearer?: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<ApiReply> {
  const response = await fetch(url, {
    method,
    headers: {
      ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  let parsed: unknown = text;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Text, then.
  }
  return { status: response.status, headers: response.headers, body: parsed as ReplyBody };
}

/**
 * Waits until so many messages wait for each of a user's devices, in the order that the API lists them: the
 * broker's own listing can lag behind its confirms.
 */
export async function untilDepths(
  stack: Pick<Stack, 'user'>,
  user: string,
  ...expected: number[]
): Promise<void> {
  const depths = async () => (await stack.user(user)).devices.map(({ depth }) => depth);
  await until(
    async () => (await depths()).join() === expected.join(),
    async () => `${expected.join()} waiting for ${user}, not ${(await depths()).join()}`,
  );
}

/** Collects what a client handles. */
export function collect(client: Client, type = '*'): Message[] {
  const messages: Message[] = [];
  client.handle(type, (message) => {
    messages.push(message);
  });
  return messages;
}
