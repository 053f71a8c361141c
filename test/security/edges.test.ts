import { randomUUID } from 'node:crypto';
import { Agent, request as httpRequest } from 'node:http';
import { text as readText } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PROBLEMS, type ProblemCode } from '@warren/protocol';
import { Application } from '../support/application.js';
import { edgesOf, FRESH, targetOf, type Edge, type Good, type OpenApi } from '../support/edges.js';
import { castOf, goodRequests, PREPARATIONS, type Cast } from '../support/good-requests.js';
import { PushBed } from '../support/push-bed.js';
import { ADMIN_KEY, SERVICE_KEY, uniqueUser, userToken } from '../support/stack.js';
import { until } from '../support/until.js';

// Numbers and texts at the edge of every schema, each in a request that is good but for it.

/** Whoever has to wait longer waits for ever. */
const PATIENCE_MS = 30_000;
/** As many at once: what one of them leaves behind is met by another. */
const AT_ONCE = 6;
/** Answers of 5xx that are none of the server's faults, by method and path. */
const UNDERSTOOD: Record<string, ProblemCode[]> = {
  // The client that is asked has a handler for one type alone, and may be given a millisecond.
  'POST /v1/requests': ['request_failed', 'request_timeout'],
  // Stored messages of other routes may still be on their way into the database.
  'GET /v1/me/recovery': ['history_behind'],
};

interface Operation {
  method: string;
  path: string;
  /** Method and path. */
  key: string;
  token: string | undefined;
}

interface Reply {
  status: number;
  type: string;
  body: string;
}

let application: Application;
let bed: PushBed;
let cast: Cast;
// A connection for each: none is closed by the server just when it is used again.
const agent = new Agent();
beforeAll(async () => {
  application = await Application.start();
  application.usual = { status: 200, body: { allow: true } };
  const { url, secret } = application;
  bed = await PushBed.start({ config: { policyUrl: { url, secret } } });
  cast = await castOf(bed);
});
afterAll(async () => {
  await bed.close();
  await application.close();
});

/** By `node:http`, since `fetch` would take `..` and `%2e%2e` out of a path. */
async function send(
  { method, token }: Operation,
  { target, body }: Pick<Edge, 'target' | 'body'>,
): Promise<Reply> {
  const id = randomUUID();
  const content = body?.replaceAll(FRESH, id);
  const { hostname, port } = new URL(bed.stack.apiUrl);
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      ...{ hostname, port, method, agent, path: target.replaceAll(FRESH, id) },
      signal: AbortSignal.timeout(PATIENCE_MS),
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(content !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(content),
        }),
      },
    });
    request.once('error', reject);
    request.once('response', (response) => {
      const { statusCode: status = 0, headers } = response;
      readText(response).then((answer) => {
        resolve({ status, type: headers['content-type'] ?? '', body: answer });
      }, reject);
    });
    request.end(content);
  });
}

/** What is wrong with an answer; undefined when nothing is. */
function complaintOf({ key }: Operation, { status, type, body }: Reply): string | undefined {
  const said = `${String(status)} ${body.slice(0, 300)}`;
  if (status >= 200 && status < 300) {
    // Each message of a batch has an answer of its own.
    return key.endsWith('/batch') && /"status":5\d\d/.test(body) ? said : undefined;
  }
  if (!type.startsWith('application/problem+json')) return `${said}, as ${type}`;
  const { code } = JSON.parse(body) as { code: ProblemCode };
  if (!(code in PROBLEMS) || PROBLEMS[code].status !== status) return said;
  if (status >= 500 && UNDERSTOOD[key]?.includes(code) !== true) return said;
  return /at .*\.js:\d+|node_modules|SQLITE|pg_/i.test(body) ? said : undefined;
}

/** @returns what was wrong with each that something was wrong with. */
async function attempt(operation: Operation, edges: Edge[]): Promise<string[]> {
  const complaints: string[] = [];
  const left = [...edges];
  const work = async (): Promise<void> => {
    for (let edge = left.shift(); edge !== undefined; edge = left.shift()) {
      const complaint = await send(operation, edge)
        .then((reply) => complaintOf(operation, reply))
        .catch((error: unknown) => `no answer: ${String(error)}`);
      if (complaint !== undefined) complaints.push(`${operation.key} ${edge.name}: ${complaint}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return complaints;
}

/** Below `/v1/admin/` there are some of the routes below `/v1/`. */
const ofKey = <Value>(table: Record<string, Value>, key: string): Value | undefined =>
  table[key] ?? table[key.replace('/v1/admin/', '/v1/')];

/** Those of a route, for what there is now. */
const goodsOf = ({ key }: Operation): Good[] => ofKey(goodRequests(bed, cast), key) ?? [];

/** @returns what was wrong with each that was not answered as it should be. */
async function tryGood(operation: Operation): Promise<string[]> {
  const { key, path } = operation;
  const complaints: string[] = [];
  for (const index of goodsOf(operation).keys()) {
    await ofKey(PREPARATIONS, key)?.(bed, cast);
    const good = goodsOf(operation)[index]!;
    const body = good.body && JSON.stringify(good.body);
    const reply = await send(operation, { target: targetOf(path, good), body });
    const isGood =
      good.status === undefined
        ? reply.status >= 200 && reply.status < 300
        : reply.status === good.status;
    if (!isGood) complaints.push(`${key}, good: ${String(reply.status)} ${reply.body}`);
  }
  return complaints;
}

/** Every route that the server says it has. */
async function describe(): Promise<{ operations: Operation[]; document: OpenApi }> {
  const response = await fetch(`${bed.stack.apiUrl}/openapi.json`);
  const document = (await response.json()) as OpenApi;
  const tokens: Record<string, string> = {
    service: SERVICE_KEY,
    admin: ADMIN_KEY,
    user: userToken(cast.user),
  };
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([name, { security }]): Operation => {
      const [scheme = 'none'] = Object.keys(security?.[0] ?? {});
      const method = name.toUpperCase();
      return { method, path, key: `${method} ${path}`, token: tokens[scheme] };
    }),
  );
  return { operations, document };
}

/** A device of somebody else says that a handler has failed. */
const witnessed = (witness: string) =>
  bed.asUser(witness, 'POST', '/v1/me/receipts', {
    deviceId: 'phone',
    handled: [{ id: 'm', type: 'note', error: 'handler_failed', tookMs: 1, agoMs: 1 }],
  });

it('numbers and texts at the edge of every schema break nothing, for anybody', async () => {
  const { operations, document } = await describe();
  const without = operations.filter((operation) => goodsOf(operation).length === 0);
  // Of each route that is new, goodRequests must have one.
  expect(without.map(({ key }) => key)).toEqual([]);
  const witness = uniqueUser();
  const complaints: string[] = [];
  let count = 0;
  for (const operation of operations) {
    const { key, path, method } = operation;
    complaints.push(...(await tryGood(operation)));
    const described = document.paths[path]![method.toLowerCase()]!;
    const edges = edgesOf(path, described, goodsOf(operation));
    count += edges.length;
    const middle = Math.ceil(edges.length / 2);
    complaints.push(...(await attempt(operation, edges.slice(0, middle))));
    if (key === 'POST /v1/me/receipts') expect((await witnessed(witness)).status).toBe(204);
    complaints.push(...(await attempt(operation, edges.slice(middle))));
  }
  for (const operation of operations) complaints.push(...(await tryGood(operation)));
  expect(complaints).toEqual([]);
  // The document has been walked, and not found empty.
  expect(count).toBeGreaterThan(1000);
  const ready = await fetch(`${bed.stack.apiUrl}/health/ready`);
  expect([ready.status, await ready.json()]).toMatchObject([200, { status: 'ok' }]);
  const kinds = async () => {
    const { body } = await bed.stack.admin('GET', `users/${witness}/timeline`);
    return body.entries.map(({ kind }) => kind);
  };
  await until(
    async () => (await kinds()).includes('handler_failed'),
    'what somebody else has told',
  );
}, 900_000);
