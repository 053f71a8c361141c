import { parseArgs } from 'node:util';
import { z, type ZodType } from 'zod';
import { withOpenApi } from '../../../server/dist/http/openapi.js';
import type { Route } from '../../../server/dist/http/route.js';
import { devTokenRoute } from '../../../server/dist/http/routes/dev.js';
import { createRoutes } from '../../../server/dist/http/routes/index.js';
import type { Services } from '../../../server/dist/http/routes/services.js';
import { fillIn } from './json.js';

/** Nobody calls the routes, so nobody does their work. */
const NOBODY = { servesMetrics: true, metrics: {} } as Services;
/** All that `GET /openapi.json` tells of after `npm start`. */
const ROUTES: Route[] = withOpenApi([...createRoutes(NOBODY), devTokenRoute(() => '')], '');

/** `:id`, `<id>` and `…` stand for something, as `{id}` does in OpenAPI. */
const templateOf = ({ path }: Route): RegExp =>
  new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/?]+')}$`);

/** The routes of a path, whatever their method. */
export const routesAt = (path: string): Route[] =>
  ROUTES.filter((route) => templateOf(route).test(path));

/** What is wrong with a request as a page writes it; undefined when nothing is. */
export function requestProblem(method: string, url: string, body?: string): string | undefined {
  const [path = '', search] = url.split('?');
  const route = routesAt(path).find((each) => each.method === method.toLowerCase());
  if (route === undefined) return `There is no route ${method} ${path}.`;
  const query = search === undefined ? undefined : queryProblem(route, search);
  return query ?? (body === undefined ? undefined : bodyProblem(route, body));
}

function queryProblem({ query }: Route, search: string): string | undefined {
  if (query === undefined) return 'The route takes no query.';
  const given = Object.fromEntries(new URLSearchParams(search));
  // What is left out may be a number.
  const filled = Object.entries(given).map(([name, value]) => [name, value === '…' ? '1' : value]);
  return schemaProblem(query, Object.fromEntries(filled));
}

function bodyProblem({ body: schema }: Route, text: string): string | undefined {
  if (schema === undefined) return 'The route takes no body.';
  const body = parse(text);
  return body === undefined ? outlineProblem(schema, text) : schemaProblem(schema, body);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(fillIn(text)) as unknown;
  } catch {
    return undefined;
  }
}

/** What a schema has to say of a value; undefined when it fits. */
export function schemaProblem(schema: ZodType, value: unknown): string | undefined {
  const { error } = schema.safeParse(value);
  return error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}

/** `{"deviceId", "mark"?}`: the fields alone, which the schema must know. */
function outlineProblem(schema: ZodType, text: string): string | undefined {
  const known = fieldsOf(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }));
  const named = [...text.matchAll(/"(\w+)"/g)].map(([, name = '']) => name);
  if (named.length === 0) return `The body is neither JSON nor a list of fields: ${text}`;
  const unknown = named.filter((name) => !known.has(name));
  return unknown.length === 0 ? undefined : `The body has no ${unknown.join(', no ')}.`;
}

/** Of a JSON schema and all that is in it. */
function fieldsOf(schema: unknown): Set<string> {
  if (typeof schema !== 'object' || schema === null) return new Set();
  const { properties } = schema as { properties?: object };
  const below = Object.values(schema).flatMap((part) => [...fieldsOf(part)]);
  return new Set([...Object.keys(properties ?? {}), ...below]);
}

/** What is wrong with the arguments of curl. Behind `…` the address of the server is left out, and what every call has. */
export function curlProblem(args: string[], apiUrl: string): string | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      request: { type: 'string', short: 'X' },
      header: { type: 'string', short: 'H', multiple: true, default: [] },
      data: { type: 'string', short: 'd' },
    },
  });
  const [url = '', ...others] = positionals;
  if (others.length > 0) return `More than one address: ${positionals.join(' ')}`;
  const { data, request = data === undefined ? 'GET' : 'POST' } = values;
  const base = ['…', apiUrl].find((each) => url.startsWith(`${each}/`));
  if (base === undefined) return `${url} is not on the server.`;
  if (data !== undefined && parse(data) === undefined) return 'The body is no JSON.';
  const headers = base === '…' ? undefined : values.header;
  return (
    requestProblem(request, url.slice(base.length), data) ??
    (headers && headersProblem(headers, data !== undefined))
  );
}

function headersProblem(headers: string[], hasBody: boolean): string | undefined {
  const has = (pattern: RegExp): boolean => headers.some((header) => pattern.test(header));
  if (!has(/^authorization: Bearer \S+$/i)) return 'There is no Authorization.';
  // curl would call it a form.
  if (hasBody && !has(/^content-type: application\/json$/i)) return 'There is no Content-Type.';
  return undefined;
}
