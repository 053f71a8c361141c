import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import cors from 'cors';
import express, { type Express, type RequestHandler } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import { pinoHttp } from 'pino-http';
import { collectDefaultMetrics } from 'prom-client';
import type { Config } from './config.js';
import { bearerToken, type Authenticate } from './http/access.js';
import { PROTOCOL_HEADER, type Route } from './http/route.js';
import { notFound, reportProblem } from './http/router.js';
import { policyOf, type Policy } from './outbound/policy.js';
import { HttpProblem } from './problem.js';
import { createUserTokenVerifier } from './sessions/user-tokens.js';
import type { WarrenParts } from './parts.js';
import { assembleWarren, type Warren } from './warren.js';

export interface ServerExtras {
  /** More routes, which only development has. */
  routes?: Route[];
  /** Mounts pages and routes of one's own before the API. */
  mount?: (app: Express, warren: Warren) => void;
  /** What clients may send to each other. Default: `WARREN_POLICY_URL` is asked; without it, nothing. */
  policy?: Policy;
  /** Times that only tests have a reason to change. */
  timing?: Pick<WarrenParts, 'offlineGraceMs' | 'unconfirmedAfterMs'> & { stalledMs?: number };
  /** Origins besides those of the configuration. */
  corsOrigins?: RegExp[];
}

export interface RunningServer {
  url: string;
  port: number;
  warren: Warren;
  /** Stops listening, lets requests end within 5 s, then closes all. Idempotent. */
  close: () => Promise<void>;
}

/** Longer than anything takes that a request asks for. In milliseconds. */
const STALLED_MS = 300_000;

/** The port is in use by another program. */
export class PortTakenError extends Error {
  override readonly name = 'PortTakenError';
  readonly code = 'port_taken';
  readonly remedy = 'End that program, or choose another port with --port N (or WARREN_PORT).';
  constructor(port: number, options?: ErrorOptions) {
    super(`Port ${String(port)} is taken by another program.`, options);
  }
}

/**
 * Starts the API server. It listens whether the broker is there or not; `/health/ready` tells.
 * @throws {PortTakenError}
 */
export async function startServer(
  config: Config,
  logger: Logger,
  extras: ServerExtras = {},
): Promise<RunningServer> {
  const warren = await assembleWarren({
    ...config,
    ...extras.timing,
    policy: extras.policy ?? policyOf(config),
    authenticate: authenticator(config),
    extraRoutes: extras.routes ?? [],
    logger,
  });
  if (config.userTokens === undefined) {
    logger.info('no key for JWTs of the application: users need one of POST /v1/users/:id/tokens');
  }
  collectDefaultMetrics({ register: warren.metrics.registry });
  const app = createApp(config, warren, logger, extras);
  // How often Node looks for requests that take too long: half a minute by default.
  const often = { connectionsCheckingInterval: 1000 };
  const server =
    config.tls === undefined
      ? createServer(often, app)
      : createTlsServer({ ...config.tls, ...often }, app);
  // Whoever does not read its answer holds that and a socket; the default is no end.
  server.timeout = extras.timing?.stalledMs ?? STALLED_MS;
  // Slow requests hold a socket each; the defaults allow five minutes.
  server.requestTimeout = 30_000;
  server.headersTimeout = 10_000;
  // Longer than a load balancer keeps what is idle, 60 s mostly: whoever closes first must not be the one that
  // a request may be on its way to.
  server.keepAliveTimeout = 75_000;
  try {
    await listen(server, config);
  } catch (error) {
    await warren.close();
    throw error;
  }
  const { port } = server.address() as AddressInfo;
  const host = ['0.0.0.0', '::'].includes(config.host) ? '127.0.0.1' : config.host;

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => {
      server.close(() => {
        resolve();
      });
    });
    server.closeIdleConnections();
    const timer = setTimeout(() => {
      server.closeAllConnections();
    }, 5000);
    await closed;
    clearTimeout(timer);
    await warren.close();
  };
  return {
    url: `${config.tls === undefined ? 'http' : 'https'}://${host}:${String(port)}`,
    port,
    warren,
    close: () => (closing ??= close()),
  };
}

function createApp(config: Config, warren: Warren, logger: Logger, extras: ServerExtras): Express {
  const app = express();
  app.disable('x-powered-by');
  app.use(requestLog(logger));
  app.use(
    helmet({
      contentSecurityPolicy: { directives: contentPolicy(config) },
      hsts: config.tls !== undefined,
    }),
  );
  app.use(
    cors({
      origin: config.corsOrigins.includes('*')
        ? '*'
        : [...config.corsOrigins, ...(extras.corsOrigins ?? [])],
      methods: ['GET', 'PUT', 'POST', 'DELETE'],
      allowedHeaders: ['authorization', 'content-type', 'warren-protocol', 'warren-user'],
      exposedHeaders: ['retry-after', PROTOCOL_HEADER],
      maxAge: 600,
    }),
  );
  extras.mount?.(app, warren);
  app.use(warren.router);
  app.use(notFound);
  app.use(reportProblem(logger));
  return app;
}

/** Pages may talk to this server and to the broker, and load nothing from elsewhere. */
function contentPolicy({ endpoints }: Config): Record<string, string[] | null> {
  return {
    'default-src': ["'self'"],
    'connect-src': ["'self'", ...endpoints.stomp.map((address) => new URL(address).origin)],
    'img-src': ["'self'", 'data:'],
    'style-src': ["'self'"],
    // Whether pages are served encrypted is for whoever stands before this server to say.
    'upgrade-insecure-requests': null,
  };
}

function requestLog(logger: Logger): RequestHandler {
  return pinoHttp({
    logger,
    // Paths hold user ids, queries may hold anything: of a request, its path alone is told.
    serializers: {
      req: ({ id, method, url }: { id: unknown; method: string; url: string }) => ({
        id,
        method,
        path: url.split('?')[0],
      }),
      res: ({ statusCode }: { statusCode: number }) => ({ statusCode }),
    },
    // What went wrong is logged with its cause where it is answered.
    customLogLevel: () => 'debug',
  });
}

function authenticator({ userTokens }: Config): Authenticate {
  const verify = userTokens === undefined ? undefined : createUserTokenVerifier(userTokens);
  return (request) => {
    const token = bearerToken(request);
    if (token === undefined) throw new HttpProblem('token_missing');
    return verify === undefined ? null : verify(token);
  };
}

function listen(server: Server, { host, port }: Config): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? new PortTakenError(port, { cause: error }) : error);
    });
    server.listen({ host, port }, () => {
      resolve();
    });
  });
}
