import { fromPublishError, HttpProblem } from './problem.js';
import { PublishError } from './publisher/index.js';
import { isDatabaseUnavailable, isMalformedForDatabase } from './storage/database-errors.js';

/** Whatever was thrown, as an error that somebody outside may see; what nobody foresaw says nothing. */
export function toProblem(error: unknown): HttpProblem {
  if (error instanceof HttpProblem) return error;
  if (error instanceof PublishError) return fromPublishError(error);
  if (isDatabaseUnavailable(error)) {
    return new HttpProblem('database_unavailable', undefined, { cause: error });
  }
  if (isMalformedForDatabase(error)) {
    return new HttpProblem('invalid_request', 'It holds a text or a number that cannot be stored.');
  }
  // Express throws this for a "%" in a path that does not begin an encoded byte.
  if (error instanceof URIError)
    return new HttpProblem('invalid_request', 'The path is not valid.');
  return new HttpProblem('internal', undefined, { cause: error });
}
