/**
 * Errors that end in the state `failed`; trying again by itself would not help.
 * - `logged_out`: `getToken` returned null. Start again after the next login.
 * - `unauthorized`: the server refused the user's token twice, or `getToken` threw an
 *   {@link UnauthorizedError}. Let the user log in again.
 * - `user_mismatch`: the token belongs to another user than `userId`. Give `getClient` the right one.
 * - `session_replaced`: the device was opened elsewhere with the same `deviceId`. Start again to take
 *   it back; give every installation an id of its own.
 * - `broker_refused`: the broker refused two fresh tokens. Compare the server's signing key with the
 *   broker's (`warren doctor`).
 * - `request_refused`: the server called the request wrong. Look at `cause`.
 * - `upgrade_required`: the server no longer speaks this SDK's protocol. Update the SDK.
 * - `no_endpoint`: the grant names no address for this transport. Set `WARREN_PUBLIC_STOMP_URL` or
 *   `WARREN_PUBLIC_AMQP_URL` on the server.
 */
export type TerminalCode =
  | 'logged_out'
  | 'unauthorized'
  | 'user_mismatch'
  | 'session_replaced'
  | 'broker_refused'
  | 'request_refused'
  | 'upgrade_required'
  | 'no_endpoint';

/**
 * Errors after which the client goes on.
 * - `api_unreachable`: the server did not answer. - `api_unavailable`: it answered that it cannot.
 * - `token_unavailable`: `getToken` threw or took too long. - `connection_failed`, `connection_lost`:
 *   the broker could not be reached, or was lost. - `consumer_cancelled`: the queue was deleted.
 * - `handler_failed`: a handler threw on its last attempt; the message was rejected.
 * - `undecodable`: a body was not what its content type says; the message was rejected.
 * - `unhandled`: a message of a type that nobody handles; it was rejected.
 */
export type PassingCode =
  | 'api_unreachable'
  | 'api_unavailable'
  | 'token_unavailable'
  | 'connection_failed'
  | 'connection_lost'
  | 'consumer_cancelled'
  | 'handler_failed'
  | 'undecodable'
  | 'unhandled';

/**
 * Errors in how the SDK is used, thrown at once.
 * - `invalid_options`: an option is missing or wrong; the message says which.
 * - `conflicting_options`: `getClient` was called before for the same user and device with another
 *   value. - `not_started`, `stopped`: `ready()` without `start()`, or after `stop()`.
 */
export type UsageCode = 'invalid_options' | 'conflicting_options' | 'not_started' | 'stopped';

export type WarrenErrorCode = TerminalCode | PassingCode | UsageCode;

/** Every error of the SDK. Its message says what happened; it never holds a token or a payload. */
export class WarrenError<Code extends WarrenErrorCode = WarrenErrorCode> extends Error {
  override readonly name: string = 'WarrenError';
  constructor(
    readonly code: Code,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Ends in `failed`: the codes are {@link TerminalCode}s. */
export class TerminalError extends WarrenError<TerminalCode> {
  override readonly name = 'TerminalError';
}

/** To be thrown by `getToken` when the user may not have a token, so that nobody asks again. */
export class UnauthorizedError extends Error {
  override readonly name = 'UnauthorizedError';
}
