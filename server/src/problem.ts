import { PROBLEMS, type Problem, type ProblemCode } from '@warren/protocol';
import type { PublishError } from './publisher/index.js';

export type FieldError = NonNullable<Problem['errors']>[number];

export interface HttpProblemOptions extends ErrorOptions {
  fieldErrors?: FieldError[];
  retryAfterSeconds?: number;
  ended?: Promise<unknown>;
}

/** An error that a caller of the HTTP API gets to see, as `application/problem+json`. */
export class HttpProblem extends Error {
  override readonly name = 'HttpProblem';
  readonly fieldErrors: FieldError[] | undefined;
  /** When to try again; sent as `Retry-After`. */
  readonly retryAfterSeconds: number | undefined;
  /** Of work that was given up and may still be done: resolves when that is over. */
  readonly ended: Promise<unknown> | undefined;

  constructor(
    readonly code: ProblemCode,
    /** What was wrong this time; never a token, never a payload. */
    readonly detail?: string,
    options: HttpProblemOptions = {},
  ) {
    super(detail ?? PROBLEMS[code].title, options);
    this.fieldErrors = options.fieldErrors;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.ended = options.ended;
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }

  toBody(): Problem {
    return {
      type: `urn:warren:problem:${this.code}`,
      title: PROBLEMS[this.code].title,
      status: this.status,
      code: this.code,
      ...(this.detail !== undefined && { detail: this.detail }),
      ...(this.fieldErrors !== undefined && { errors: this.fieldErrors }),
    };
  }
}

/** What a send that failed is over HTTP. */
export function fromPublishError(error: PublishError): HttpProblem {
  const cause = { cause: error };
  switch (error.code) {
    case 'outcome_unknown':
      return new HttpProblem('outcome_unknown', `The message's id is ${error.messageId}.`, cause);
    case 'payload_too_large':
      return new HttpProblem('payload_too_large', undefined, cause);
    case 'payload_not_serializable':
      return new HttpProblem('invalid_request', 'The data is nested too deeply.', cause);
    case 'recipient_offline':
      return new HttpProblem('user_offline', undefined, cause);
    case 'request_timeout':
    case 'request_failed':
      return new HttpProblem(error.code, undefined, cause);
    case 'broker_refused':
    case 'broker_unavailable':
    case 'publisher_closed':
      return new HttpProblem('broker_unavailable', undefined, cause);
  }
}
