import { PROBLEMS, type ProblemCode } from '@warren/protocol';
import { z, type ZodType } from 'zod';
import { route, type Route } from './route.js';

const FROM_ACCESS: Record<Route['access'], ProblemCode[]> = {
  none: [],
  service: ['token_missing', 'token_invalid', 'rate_limited'],
  user: [
    'token_missing',
    'token_invalid',
    'token_expired',
    'token_revoked',
    'keys_unavailable',
    'database_unavailable',
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
      },
      schemas: { Problem: problemSchema() },
    },
  };
}

function operation(entry: Route): Json {
  const parameters = [...entry.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const replies = Object.entries(entry.replies).map(([status, { description, schema }]) => [
    status,
    {
      description,
      ...(schema !== undefined && content('application/json', jsonSchema(schema, 'output'))),
    },
  ]) as [string, Json][];
  return {
    summary: entry.summary,
    ...(entry.access !== 'none' && { security: [{ [entry.access]: [] }] }),
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

function problemReplies(entry: Route): Record<string, Json> {
  const codes = [
    ...FROM_ACCESS[entry.access],
    ...(entry.body === undefined ? [] : FROM_BODY),
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
  const { $schema: _version, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}

function problemSchema(): Json {
  return {
    type: 'object',
    required: ['type', 'title', 'status', 'code'],
    properties: {
      type: { type: 'string' },
      title: { type: 'string' },
      status: { type: 'integer' },
      code: { type: 'string', enum: Object.keys(PROBLEMS) },
      detail: { type: 'string' },
      errors: {
        type: 'array',
        items: {
          type: 'object',
          properties: { path: { type: 'string' }, message: { type: 'string' } },
        },
      },
    },
  };
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
