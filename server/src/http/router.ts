import { isUtf8 } from 'node:buffer';
import { pipeline } from 'node:stream/promises';
import express, {
  type ErrorRequestHandler,
  type NextFunction,
  type Request,
  type RequestHandler,
  type Response,
  type Router,
} from 'express';
import { MAX_BODY_BYTES, PROTOCOL_VERSION } from '@warren/protocol';
import type { Logger } from 'pino';
import type { ZodType } from 'zod';
import type { Metrics } from '../metrics.js';
import { HttpProblem } from '../problem.js';
import { flawIn, flawInParsed } from '../foreign-json.js';
import { toProblem } from '../to-problem.js';
import { parse } from '../validation.js';
import type { AuditStore } from '../storage/audit.js';
import { SHOWN_CHARACTERS, type AccessControl, type Caller } from './access.js';
import type { RateLimiter } from './rate-limits.js';
import { PROTOCOL_HEADER, type Route, type RouteContext, type RouteReply } from './route.js';
import { UnreadAnswers } from './unread-answers.js';

export interface RouterOptions {
  routes: Route[];
  /** The pages of the admin console. */
  console: RequestHandler;
  access: AccessControl;
  rates: RateLimiter;
  audit: AuditStore;
  metrics: Metrics;
  logger: Logger;
}

const NOT_UTF8 = 'The body must be UTF-8.';
/**
 * Of what the audit log keeps for a year: two ids fit. A path may be any text of 16 KB, and is written before it is
 * looked at.
 */
const MAX_TARGET = 1024;

/** Makes an Express router of the table; it parses, refuses and answers by itself, errors included. */
export function createRouter(options: RouterOptions): Router {
  const { routes, metrics, logger } = options;
  // Strict: what lost the end of its path on the way is not taken for another route, and what a proxy does not let
  // through is not there by another spelling.
  const router = express.Router({ strict: true, caseSensitive: true });
  router.use('/console', options.console);
  const readBody = express.json({
    limit: MAX_BODY_BYTES,
    strict: false,
    inflate: false,
    verify: (_request, _response, body, charset) => {
      // JSON is UTF-8 (RFC 8259). body-parser would read others, and replace what is none in silence.
      if (charset !== 'utf-8') throw Object.assign(new Error(), { type: 'charset.unsupported' });
      const flaw = isUtf8(body) ? flawIn(body.toString('utf8')) : NOT_UTF8;
      if (flaw !== undefined) throw new Error(flaw);
    },
  });

  const unread = new UnreadAnswers();
  for (const path of new Set(routes.map((entry) => entry.path))) {
    const here = routes.filter((entry) => entry.path === path);
    const mounted = router.route(path.replaceAll(/\{(\w+)\}/g, ':$1'));
    for (const entry of here) {
      mounted[entry.method](
        observe(entry, metrics),
        mark,
        authorize(entry, options),
        handle(entry, readBody, unread, options),
      );
    }
    mounted.all((_request, response) => {
      response.set('allow', here.map(({ method }) => method.toUpperCase()).join(', '));
      throw new HttpProblem('method_not_allowed');
    });
  }
  router.use(notFoundBelow);
  router.use(reportProblem(logger));
  return router;
}

/** Below a path of its own the router answers everything; at the root there may be others behind it. */
const notFoundBelow: RequestHandler = ({ baseUrl }, _response, next) => {
  if (baseUrl !== '') throw new HttpProblem('not_found');
  next();
};

/** For what no route has answered: to stand behind all routers of an application of one's own. */
export const notFound: RequestHandler = () => {
  throw new HttpProblem('not_found');
};

function observe({ method, path }: Route, metrics: Metrics): RequestHandler {
  return (_request, response, next) => {
    const stop = metrics.requestSeconds.startTimer({ method: method.toUpperCase(), route: path });
    response.once('close', () => {
      stop({ status: String(response.statusCode) });
    });
    next();
  };
}

/** By which clients tell an answer that has no body from that of whoever stands between. */
const mark: RequestHandler = (_request, response, next) => {
  response.set(PROTOCOL_HEADER, String(PROTOCOL_VERSION));
  next();
};

// Before the body is read: nobody makes the server parse without having shown a key.
function authorize({ access: needed }: Route, { access, rates }: RouterOptions): RequestHandler {
  return async (request, response, next) => {
    const caller = await access.check(needed, request);
    const { budget } = caller;
    if (budget !== undefined) await rates.take(budget);
    Object.assign(response.locals, { ...caller, caller: nameOf(caller) } satisfies Locals);
    next();
  };
}

interface Locals extends Caller {
  caller: string;
}

/** What the budgets of service keys begin with. */
const KEY = 'key:';

const nameOf = ({ admin, budget = 'anybody' }: Caller): string =>
  admin?.actor ??
  (budget.startsWith(KEY) ? budget.slice(0, KEY.length + SHOWN_CHARACTERS) : budget);

/** The first is waited for: what fails before is answered as any other error. */
async function sendLines(lines: AsyncGenerator<string>, response: Response): Promise<void> {
  const first = await lines.next();
  if (first.done !== true) {
    response.type('application/x-ndjson').write(first.value);
    // Whoever has gone is sent no more, which is no failure.
    await pipeline(lines, response).catch((error: unknown) => {
      if (!response.destroyed || !isPremature(error)) throw error;
    });
  } else response.end();
}

const isPremature = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE';

function handle(
  entry: Route,
  readBody: RequestHandler,
  unread: UnreadAnswers,
  { audit, logger }: RouterOptions,
): RequestHandler {
  return async (request, response) => {
    const body =
      entry.body === undefined
        ? undefined
        : await parseBody(entry.body, request, response, readBody);
    const { identity, admin, caller, budget } = response.locals as Locals;
    const context: RouteContext<unknown> = {
      params: request.params as Record<string, string>,
      query: entry.query === undefined ? undefined : parse(entry.query, request.query),
      body,
      identity,
      admin,
      caller,
      request,
    };
    const reply = await audited(entry, context, audit, logger);
    if (reply.lines !== undefined) {
      response.status(reply.status);
      await sendLines(reply.lines, response);
      return;
    }
    const text = typeof reply.body === 'object' ? JSON.stringify(reply.body) : reply.body;
    // Only what has changed nothing can be refused now. Back ends are trusted to read what they ask for.
    if (entry.method === 'get' && budget?.startsWith(KEY) === false) {
      unread.add(budget, text?.length ?? 0, response);
    }
    response.status(reply.status);
    if (text === undefined) response.end();
    else response.type(contentTypeOf(reply)).send(text);
  };
}

const contentTypeOf = ({ body, contentType }: RouteReply): string =>
  contentType ?? (typeof body === 'string' ? 'text' : 'json');

/** What cannot be written into the audit log is not done. */
async function audited(
  { audit: entry, handle: work }: Route,
  context: RouteContext<unknown>,
  audit: AuditStore,
  logger: Logger,
): Promise<RouteReply> {
  if (entry === undefined) return work(context);
  const { caller: actor } = context;
  const target = entry.target(context).slice(0, MAX_TARGET);
  const id = await audit.add({ at: Date.now(), actor, action: entry.action, target });
  const settle = (result: string): Promise<void> =>
    audit.settle(id, result).catch((error: unknown) => {
      logger.warn({ err: error }, 'how an action ended could not be written down');
    });
  try {
    const reply = await work(context);
    await settle('done');
    return reply;
  } catch (error) {
    await settle(toProblem(error).code);
    throw error;
  }
}

async function parseBody(
  schema: ZodType,
  request: Request,
  response: Response,
  readBody: RequestHandler,
): Promise<unknown> {
  const hasBody =
    Number(request.headers['content-length'] ?? 0) > 0 || 'transfer-encoding' in request.headers;
  if (hasBody && request.is('application/json') === false) {
    throw new HttpProblem('unsupported_media_type');
  }
  // By the application that Warren is embedded in; express.json() leaves it alone then.
  const isParsed = request.body !== undefined;
  await new Promise<void>((resolve, reject) => {
    const done: NextFunction = (error?: unknown) => {
      if (error === undefined) resolve();
      else reject(fromBodyError(error));
    };
    void readBody(request, response, done);
  });
  const body = (request.body as unknown) ?? {};
  const flaw = isParsed ? flawInParsed(body) : undefined;
  if (flaw !== undefined) throw new HttpProblem('invalid_request', flaw);
  return parse(schema, body);
}

/** body-parser's errors carry a `type`: what went wrong, without the text that it was given. */
function fromBodyError(error: unknown): HttpProblem {
  const type = error instanceof Error && 'type' in error ? error.type : undefined;
  switch (type) {
    case 'entity.too.large':
      return new HttpProblem('payload_too_large');
    case 'entity.verify.failed':
      // The flaw that was found above.
      return new HttpProblem('invalid_request', error instanceof Error ? error.message : undefined);
    case 'encoding.unsupported':
    case 'charset.unsupported':
      return new HttpProblem('unsupported_media_type', 'Send UTF-8, not compressed.');
    default:
      // No cause: the parser's error holds the body.
      return new HttpProblem('invalid_json');
  }
}

/** Turns whatever was thrown into a problem+json answer; what nobody foresaw is logged and says nothing. */
export function reportProblem(logger: Logger): ErrorRequestHandler {
  return (error: unknown, request, response, _next) => {
    const problem = toProblem(error);
    // A crowd that is turned away must not fill the disk; the metrics count it.
    if (problem.status >= 500 && problem.cause !== undefined) {
      logger.warn({ err: error, method: request.method, code: problem.code }, 'a request failed');
    }
    if (response.headersSent) {
      response.destroy();
      return;
    }
    if (problem.status === 401) response.set('www-authenticate', 'Bearer');
    // Only where it is known: whoever is told to come in a second does, and all others with it.
    const { retryAfterSeconds } = problem;
    if (retryAfterSeconds !== undefined) response.set('retry-after', String(retryAfterSeconds));
    // A body that was not read to its end would be taken for the next request.
    if (!request.complete) response.set('connection', 'close');
    response.status(problem.status).type('application/problem+json').json(problem.toBody());
  };
}
