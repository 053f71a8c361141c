/**
 * Why a send was rejected.
 * - `broker_unavailable`: nothing was sent. Try again later.
 * - `outcome_unknown`: it was handed to the broker, at least in part, and no confirm came for all of it. It may
 *   still arrive: send it again with the same id, and whoever gets it twice handles it once.
 * - `broker_refused`: the broker will not take it, now or later: the exchange is missing, or the
 *   account may not write to it. Nothing was sent. With several under way it does not say which: they end in
 *   `outcome_unknown`.
 * - `payload_too_large`: over `maxMessageBytes`. Nothing was sent.
 * - `payload_not_serializable`: `data` is not JSON (undefined, a BigInt, a circle). Nothing was sent.
 * - `recipient_offline`: of a request: nobody is connected to answer it.
 * - `request_timeout`: of a request: no answer came in time. The client may have handled it all the same.
 * - `request_failed`: of a request: the client has answered that it failed.
 * - `publisher_closed`: `close()` was called before. Nothing was sent.
 */
export type PublishErrorCode =
  | 'broker_unavailable'
  | 'outcome_unknown'
  | 'broker_refused'
  | 'payload_too_large'
  | 'payload_not_serializable'
  | 'recipient_offline'
  | 'request_timeout'
  | 'request_failed'
  | 'publisher_closed';

/** What a handler's answer is, if it lets the error pass; as the server answers over HTTP. */
const STATUS: Partial<Record<PublishErrorCode, number>> = {
  payload_too_large: 413,
  payload_not_serializable: 500,
  recipient_offline: 404,
  request_timeout: 504,
  request_failed: 502,
};

/**
 * A send that did not end in a confirm. Holds the message's id, never its payload. Express, Koa and whatever else
 * reads `status`, `expose` and `headers` of an error make the right answer of it: 503 while the broker is away.
 */
export class PublishError extends Error {
  override readonly name = 'PublishError';
  /** An HTTP status. */
  readonly status: number;
  readonly statusCode: number;
  /** The message may be shown. */
  readonly expose = true;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    readonly code: PublishErrorCode,
    message: string,
    /** Send it again with this id. */
    readonly messageId: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.status = STATUS[code] ?? 503;
    this.statusCode = this.status;
    this.headers = code === 'broker_unavailable' ? { 'Retry-After': '1' } : {};
  }
}
