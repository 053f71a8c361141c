import type { ZodType, z } from 'zod';
import { HttpProblem, type FieldError } from './problem.js';

/** What comes from outside, as what the schema makes of it. @throws {HttpProblem} that names each field. */
export function parse<Output>(schema: ZodType<Output>, value: unknown): Output {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw fromZodError(result.error);
}

function fromZodError({ issues }: z.core.$ZodError): HttpProblem {
  const fieldErrors = issues.flatMap((issue): FieldError[] => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({
        path: [...issue.path, key].join('.'),
        message: 'is not a field of this request',
      }));
    }
    return [{ path: issue.path.join('.'), message: issue.message }];
  });
  const isUnknown = issues.every(({ code }) => code === 'unrecognized_keys');
  const isId = issues.every(
    (issue) => issue.code === 'custom' && issue.params?.['code'] === 'invalid_id',
  );
  const code = isUnknown ? 'unknown_field' : isId ? 'invalid_id' : 'invalid_request';
  const detail = fieldErrors.map(({ path, message }) => `${path || 'body'}: ${message}`).join('; ');
  return new HttpProblem(code, detail.slice(0, 1000), { fieldErrors: fieldErrors.slice(0, 20) });
}
