import {
  deadLetterDetailSchema,
  deadLettersBodySchema,
  deadLettersDoneSchema,
  deadLettersQuerySchema,
  deadLettersReplySchema,
  type DeadLettersBody,
} from '@warren/protocol';
import { HttpProblem } from '../../problem.js';
import { route, type Route } from '../route.js';
import type { Services } from './services.js';

/** Messages that were given up. */
export function deadLetterRoutes({ deadLetters }: Services): Route[] {
  const act = (name: 'resend' | 'discard', summary: string): Route =>
    route({
      method: 'post',
      path: `/v1/admin/dead-letters/${name}`,
      access: 'operator',
      summary,
      body: deadLettersBodySchema,
      replies: { 200: { description: 'How many.', schema: deadLettersDoneSchema } },
      problems: ['overloaded', 'broker_unavailable', 'outcome_unknown'],
      audit: { action: `dead_letters.${name}`, target: ({ body }) => targetOf(body) },
      handle: async ({ body, caller }) => ({
        status: 200,
        body: await deadLetters[name](body, caller),
      }),
    });
  return [
    route({
      method: 'get',
      path: '/v1/admin/dead-letters',
      access: 'viewer',
      summary: 'Messages that were given up, the newest first.',
      query: deadLettersQuerySchema,
      replies: { 200: { description: 'Those that fit.', schema: deadLettersReplySchema } },
      problems: ['invalid_id'],
      handle: async ({ query }) => ({ status: 200, body: await deadLetters.list(query) }),
    }),
    // Before the one that takes any name for an id.
    act(
      'resend',
      'Send them again, each to its device under a new id; 10,000 at most, then ask again.',
    ),
    act('discard', 'Throw them away; 10,000 at most, then ask again.'),
    route({
      method: 'get',
      path: '/v1/admin/dead-letters/{id}',
      access: 'viewer',
      summary: 'What one of them says.',
      replies: { 200: { description: 'All of it.', schema: deadLetterDetailSchema } },
      problems: ['dead_letter_unknown'],
      audit: { action: 'dead_letters.look', target: ({ params }) => params['id'] ?? '' },
      handle: async ({ params }) => {
        const id = Number(params['id']);
        if (!Number.isSafeInteger(id)) throw new HttpProblem('dead_letter_unknown');
        return { status: 200, body: await deadLetters.look(id) };
      },
    }),
  ];
}

function targetOf(body: DeadLettersBody): string {
  if ('ids' in body) return `${String(body.ids.length)} dead letters`;
  const { all: _all, ...filter } = body;
  const conditions = Object.entries(filter).map(([name, value]) => `${name}:${value ?? ''}`);
  return conditions.length === 0 ? 'all dead letters' : conditions.join(' ');
}
