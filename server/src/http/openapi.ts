import { PROBLEMS, problemSchema, PROTOCOL_VERSION, type ProblemCode } from '@warren/protocol';
import { z, type ZodType } from 'zod';
import { PROTOCOL_HEADER, route, type Route } from './route.js';

const ADMIN: ProblemCode[] = [
  'token_missing',
  'token_invalid',
  'token_expired',
  'token_not_yet_valid',
  'token_revoked',
  'role_required',
  'keys_unavailable',
  'database_unavailable',
  'rate_limited',
];
const FROM_ACCESS: Record<Route['access'], ProblemCode[]> = {
  none: [],
  service: ['token_missing', 'token_invalid', 'rate_limited'],
  viewer: ADMIN,
  operator: ADMIN,
  user: [
    'token_missing',
    'token_invalid',
    'token_expired',
    'token_not_yet_valid',
    'token_revoked',
    'keys_unavailable',
    'database_unavailable',
    'user_mismatch',
    'upgrade_required',
    'rate_limited',
  ],
};
const FROM_BODY: ProblemCode[] = [
  'invalid_json',
  'invalid_request',
  'unknown_field',
  'payload_too_large',
  'unsupported_media_type',
];

const FROM_QUERY: ProblemCode[] = ['invalid_request', 'unknown_field'];

type Json = Record<string, unknown>;

/** The OpenAPI 3.1 document of a table of routes. */
export function createOpenApi(routes: Route[], version: string): Json {
  const paths: Record<string, Json> = {};
  for (const entry of routes) {
    paths[entry.path] = { ...paths[entry.path], [entry.method]: operation(entry) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Warren',
      version,
      description: 'Messages from a server to its users, over RabbitMQ.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    paths,
    components: {
      securitySchemes: {
        service: { type: 'http', scheme: 'bearer', description: 'A service key.' },
        user: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: "A user's JWT." },
        admin: {
          type: 'http',
          scheme: 'bearer',
          description: 'An admin key, a JWT with a role, or a token of `POST /v1/admin/tokens`.',
        },
      },
      headers: {
        Protocol: {
          description:
            'The version of the protocol; a proxy, or a network that asks for a login, sends none.',
          schema: { type: 'integer', const: PROTOCOL_VERSION },
        },
      },
      schemas: { Problem: jsonSchema(problemSchema, 'output') },
    },
  };
}

const schemeOf = (access: Route['access']): string =>
  access === 'viewer' || access === 'operator' ? 'admin' : access;

function operation(entry: Route): Json {
  const inPath = [...entry.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const parameters = [...inPath, ...queryParameters(entry.query)];
  const replies = Object.entries(entry.replies).map(([status, { description, schema }]) => [
    status,
    {
      description,
      headers: { [PROTOCOL_HEADER]: { $ref: '#/components/headers/Protocol' } },
      ...(schema !== undefined && content('application/json', jsonSchema(schema, 'output'))),
    },
  ]) as [string, Json][];
  return {
    summary: entry.summary,
    ...(entry.access !== 'none' && { security: [{ [schemeOf(entry.access)]: [] }] }),
    ...(parameters.length > 0 && { parameters }),
    ...(entry.body !== undefined && {
      requestBody: {
        required: true,
        ...content('application/json', jsonSchema(entry.body, 'input')),
      },
    }),
    responses: { ...problemReplies(entry), ...Object.fromEntries(replies) },
  };
}

function queryParameters(schema: ZodType | undefined): Json[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = jsonSchema(schema, 'input') as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description, ...property }]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    ...(description !== undefined && { description }),
    schema: property,
  }));
}

function problemReplies(entry: Route): Record<string, Json> {
  const codes = [
    ...FROM_ACCESS[entry.access],
    ...(entry.body === undefined ? [] : FROM_BODY),
    ...(entry.query === undefined ? [] : FROM_QUERY),
    ...entry.problems,
  ];
  const replies: Record<string, Json> = {};
  for (const status of new Set(codes.map((code) => PROBLEMS[code].status))) {
    const here = codes.filter((code) => PROBLEMS[code].status === status);
    replies[String(status)] = {
      description: here.map((code) => `\`${code}\`: ${PROBLEMS[code].title}`).join('\n\n'),
      ...content('application/problem+json', { $ref: '#/components/schemas/Problem' }),
    };
  }
  return replies;
}

const content = (type: string, schema: Json): Json => ({ content: { [type]: { schema } } });

function jsonSchema(schema: ZodType, io: 'input' | 'output'): Json {
  const { $schema: _version, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    // What stands in for a value that cannot be read is not what a missing one means.
    override: ({ zodSchema, jsonSchema: described }) => {
      if (zodSchema._zod.def.type === 'catch') delete described.default;
    },
  });
  return rest;
}

/** Adds `GET /openapi.json`, which describes all routes of the table and itself. */
export function withOpenApi(routes: Route[], version: string): Route[] {
  const all: Route[] = [...routes];
  let document: Json | undefined;
  all.push(
    route({
      method: 'get',
      path: '/openapi.json',
      access: 'none',
      summary: 'This document.',
      replies: { 200: { description: 'OpenAPI 3.1.' } },
      problems: [],
      handle: () => {
        document ??= createOpenApi(all, version);
        return { status: 200, body: document };
      },
    }),
  );
  return all;
}
