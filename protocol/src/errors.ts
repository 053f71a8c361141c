import { z } from 'zod';
import { ID_RULE } from './names.js';

/**
 * Every error that the HTTP API answers with: its code is stable, its status and title belong to it.
 * docs/errors.md says for each what to do.
 */
export const PROBLEMS = {
  invalid_json: { status: 400, title: 'The body is not valid JSON.' },
  invalid_request: { status: 400, title: 'The request does not fit what the route takes.' },
  unknown_field: { status: 400, title: 'The request has a field that the route does not know.' },
  invalid_id: {
    status: 400,
    title: `An id must ${ID_RULE}.`,
  },
  push_not_configured: { status: 400, title: 'The server has no such provider of pushes.' },
  token_missing: { status: 401, title: 'The request carries no bearer token.' },
  token_invalid: { status: 401, title: 'The bearer token is not valid here.' },
  token_expired: { status: 401, title: 'The bearer token has expired.' },
  token_not_yet_valid: {
    status: 401,
    title: 'The bearer token is from the future: whoever issues it has a clock that is ahead.',
  },
  token_revoked: { status: 401, title: 'The bearer token was issued before the user was revoked.' },
  user_mismatch: {
    status: 403,
    title: 'The bearer token is of another user than the one that the request is meant for.',
  },
  session_ended: { status: 403, title: 'The session was ended; a new one may be opened.' },
  too_many_devices: { status: 403, title: 'The user has as many devices as are allowed.' },
  not_a_member: { status: 403, title: 'The user is not in this group.' },
  not_allowed: { status: 403, title: 'The application does not allow this message.' },
  role_required: { status: 403, title: 'The role that this asks for is another one.' },
  forbidden_host: { status: 403, title: 'This address does not answer under this host.' },
  not_found: { status: 404, title: 'There is nothing at this address.' },
  message_unknown: { status: 404, title: 'No such message is known, or it is long over.' },
  message_not_tracked: { status: 404, title: 'The message was sent without being tracked.' },
  member_unknown: { status: 404, title: 'The user is not in this group.' },
  group_unknown: { status: 404, title: 'There is no such group.' },
  console_unknown: { status: 404, title: 'The console has no such session any more.' },
  dead_letter_unknown: { status: 404, title: 'It is not among the dead letters any more.' },
  user_unknown: { status: 404, title: 'No such user is provisioned.' },
  user_offline: { status: 404, title: 'The user is not connected now.' },
  request_unknown: { status: 404, title: 'Nobody waits for this answer any more.' },
  method_not_allowed: { status: 405, title: 'This address does not know the method.' },
  id_reused: { status: 409, title: 'Another message has been sent with this id.' },
  session_replaced: { status: 409, title: 'A newer session has taken the device over.' },
  payload_too_large: { status: 413, title: 'The body is over 256 KiB.' },
  unsupported_media_type: { status: 415, title: 'The body must be application/json.' },
  upgrade_required: { status: 426, title: 'This client is too old for the server.' },
  rate_limited: { status: 429, title: 'Too many requests; wait for as long as Retry-After says.' },
  internal: { status: 500, title: 'Something went wrong in the server.' },
  request_failed: { status: 502, title: 'The client has answered that it failed.' },
  keys_unavailable: {
    status: 503,
    title: 'The keys that user tokens are checked with cannot be fetched.',
  },
  broker_unavailable: { status: 503, title: 'The broker cannot be reached; nothing was sent.' },
  database_unavailable: { status: 503, title: 'The database cannot be reached; nothing was done.' },
  history_behind: {
    status: 503,
    title: 'The history has not caught up yet; wait for as long as Retry-After says.',
  },
  overloaded: { status: 503, title: 'Too many ask at once; wait for as long as Retry-After says.' },
  policy_unavailable: {
    status: 503,
    title: 'The application could not be asked whether it allows the message; nothing was sent.',
  },
  outcome_unknown: {
    status: 503,
    title: 'The message may still arrive; send it again with the same id.',
  },
  request_timeout: { status: 504, title: 'The client has not answered in time.' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** A body of type `application/problem+json` (RFC 9457). */
export const problemSchema = z.object({
  /** `urn:warren:problem:<code>` */
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.enum(Object.keys(PROBLEMS) as [ProblemCode, ...ProblemCode[]]),
  /** What was wrong this time, and what to do. Never holds a token or a payload. */
  detail: z.string().optional(),
  /** Which fields were wrong. */
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});
export type Problem = z.infer<typeof problemSchema>;
