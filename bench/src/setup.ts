import { Client as StompClient } from '@stomp/stompjs';
import { connect, type ChannelModel, type Options } from 'amqplib';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import WebSocket from 'ws';
import { getClient, stomp, type Client } from '@warren/client';
import { amqp } from '@warren/client/amqp';
import type { Broker } from '@warren/rabbitmq';
import { createWarren, type CreateWarrenOptions } from '@warren/server';
import { createPublisher, type Publisher } from '@warren/server/publisher';

export interface Grant {
  queue: string;
  liveQueue: string;
  token: string;
  vhost: string;
  prefetch: number;
}

export type TransportName = 'stomp' | 'amqp';

/** A broker with a server on it, and ways to reach users with Warren and without. */
export interface Bench {
  broker: Broker;
  /** Of the server. */
  apiUrl: string;
  dataDir: string;
  /** Another one of the same kind. */
  startBroker: (dataDir: string) => Promise<Broker>;
  publisher: Publisher;
  /** A device's queues, for a bare client to consume. */
  grant: (user: string, device: string) => Promise<Grant>;
  /** A request of a back end. */
  api: (method: string, path: string, body?: unknown) => Promise<unknown>;
  /** What an admin looks at. */
  admin: (path: string) => Promise<unknown>;
  sdk: (user: string, transport: TransportName) => Client;
  /** amqplib with the account of a back end or with a device's token. */
  amqplib: (grant?: Grant) => Promise<ChannelModel>;
  stompjs: (grant: Grant) => Promise<StompClient>;
  close: () => Promise<void>;
}

export const USER_HEADER = 'x-bench-user';
export const SERVICE_KEY = 'service-key-of-the-bench';
/** Of a back end that is nobody's friend. */
export const NOISY_KEY = 'service-key-of-the-noise';
export const ADMIN_KEY = 'admin-key-of-the-bench';

/** Bare clients consume the mailboxes that the server makes, so it holds for them too. */
const MAILBOX_TYPE = process.env['WARREN_MAILBOX_TYPE'] as CreateWarrenOptions['mailboxType'];

// Bare clients renew no token.
process.env['WARREN_SESSION_TTL_SECONDS'] ??= String(12 * 3600);

/** @param startBroker makes another one of the same kind. */
export async function startBench(
  broker: Broker,
  dataDir: string,
  startBroker: Bench['startBroker'] = () => Promise.reject(new Error('one broker is enough')),
): Promise<Bench> {
  const { amqpUrl, backendAmqpUrl, clientAmqpUrl, managementUrl, metricsUrl, stompUrl } =
    broker.endpoints;
  const warren = await createWarren({
    amqpUrl,
    managementUrl,
    brokerMetricsUrl: metricsUrl,
    publicStompUrl: stompUrl,
    publicAmqpUrl: clientAmqpUrl,
    signingKey: broker.signingKey.privateKey,
    serviceKeys: [SERVICE_KEY, NOISY_KEY],
    adminKeys: [ADMIN_KEY],
    dataDir,
    ...(MAILBOX_TYPE !== undefined && { mailboxType: MAILBOX_TYPE }),
    authenticate: (request) => request.get(USER_HEADER) ?? null,
  });
  await warren.ready();
  const server = createServer(express().use(warren.router));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const apiUrl = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  // A flood of one part may take longer than any application would wait.
  const publisher = createPublisher({ amqpUrl: backendAmqpUrl, timeoutMs: 60_000 });
  await publisher.ready();

  return {
    broker,
    apiUrl,
    dataDir,
    startBroker,
    publisher,
    grant: async (user, deviceId) => {
      const response = await fetch(`${apiUrl}/v1/sessions`, {
        method: 'POST',
        headers: { [USER_HEADER]: user, 'content-type': 'application/json' },
        body: JSON.stringify({ deviceId }),
      });
      return (await response.json()) as Grant;
    },
    api: async (method, path, body) => {
      const response = await fetch(`${apiUrl}${path}`, {
        method,
        headers: { authorization: `Bearer ${SERVICE_KEY}`, 'content-type': 'application/json' },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      if (!response.ok) throw new Error(`${method} ${path}: ${String(response.status)}`);
      return response.status === 204 ? undefined : response.json();
    },
    admin: async (path) => {
      const headers = { authorization: `Bearer ${ADMIN_KEY}` };
      return (await fetch(`${apiUrl}/v1/admin/${path}`, { headers })).json();
    },
    sdk: (user, transport) =>
      getClient({
        apiUrl,
        userId: user,
        deviceId: transport,
        getToken: () => 'the header says who it is',
        transport: transport === 'amqp' ? amqp() : stomp({ createWebSocket }),
        platform: {
          fetch: (url, init) =>
            fetch(url, { ...init, headers: { ...(init?.headers as object), [USER_HEADER]: user } }),
        },
      }),
    amqplib: (grant) => connectAmqplib(broker, grant),
    stompjs: (grant) => connectStompjs(stompUrl, grant),
    close: async () => {
      await publisher.close();
      await warren.close();
      server.closeAllConnections();
      server.close();
    },
  };
}

const createWebSocket = (url: string, protocols: string[]) =>
  new WebSocket(url, protocols) as unknown as globalThis.WebSocket;

function connectAmqplib(broker: Broker, grant: Grant | undefined): Promise<ChannelModel> {
  const { hostname, port, pathname, username, password } = new URL(broker.endpoints.backendAmqpUrl);
  const options: Options.Connect = {
    hostname,
    port: Number(port),
    username: grant?.queue ?? username,
    password: grant?.token ?? password,
    vhost: pathname.slice(1),
    frameMax: 131_072,
  };
  return connect(options, { noDelay: true });
}

function connectStompjs(url: string, grant: Grant): Promise<StompClient> {
  return new Promise((resolve, reject) => {
    const client = new StompClient({
      webSocketFactory: () => createWebSocket(url, ['v12.stomp']),
      connectHeaders: { login: grant.queue, passcode: grant.token, host: grant.vhost },
      reconnectDelay: 0,
      onConnect: () => {
        resolve(client);
      },
      onWebSocketClose: reject,
    });
    client.activate();
  });
}
