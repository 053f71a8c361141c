/**
 * Errors that end in the state `failed`; trying again by itself would not help.
 * - `logged_out`: `getToken` returned null, or another tab has logged out. Start again after the next
 *   login.
 * - `unauthorized`: the server refused the user's token twice, or `getToken` threw an
 *   {@link UnauthorizedError}. Let the user log in again.
 * - `user_mismatch`: the token belongs to another user than `userId`. Give `getClient` the right one.
 * - `session_replaced`: the device was opened elsewhere with the same `deviceId`. Start again to take
 *   it back; give every installation an id of its own.
 * - `session_ended`: the device was logged out, removed or revoked. Start again after the next login.
 * - `too_many_devices`: the user has as many devices as the server allows, all connected. Log one out.
 * - `broker_refused`: the broker refused two fresh tokens. Compare the server's signing key with the
 *   broker's (`warren doctor`).
 * - `request_refused`: the server called the request wrong. Look at `cause`.
 * - `upgrade_required`: the server no longer speaks this SDK's protocol. Update the SDK.
 * - `no_endpoint`: the grant names no address for this transport. Set `WARREN_PUBLIC_STOMP_URL` or
 *   `WARREN_PUBLIC_AMQP_URL` on the server.
 * - `no_websocket`: there is no WebSocket here, as in Node 20. Use `amqp()`, or give `stomp()` a `createWebSocket`.
 */
export type TerminalCode =
  | 'logged_out'
  | 'unauthorized'
  | 'user_mismatch'
  | 'session_replaced'
  | 'session_ended'
  | 'too_many_devices'
  | 'broker_refused'
  | 'request_refused'
  | 'upgrade_required'
  | 'no_endpoint'
  | 'no_websocket';

/**
 * Errors after which the client goes on.
 * - `api_unreachable`: the server did not answer. - `api_unavailable`: it answered that it cannot.
 * - `token_unavailable`: `getToken` threw, took too long, or gave what is no token.
 * - `token_not_yet_valid`: the token is from the future, by the server's clock.
 * - `connection_failed`, `connection_lost`: the broker could not be reached, or was lost.
 * - `consumer_cancelled`: the queue was deleted.
 * - `handler_failed`: a handler threw on its last attempt; the message was rejected.
 * - `handler_timeout`: a handler took longer than `handlerTimeoutMs` on its last attempt; the message
 *   was rejected.
 * - `undecodable`: a body was not what its content type or its schema says; the message was rejected.
 * - `unhandled`: a message of a type that nobody handles, without a listener to the event of that name.
 * - `storage_unavailable`: what was handled, or the device's id, cannot be kept in `storage`; it is remembered
 *   as long as the page lasts.
 * - `receipts_dropped`: 2,000 messages that were handled, or 2,000 that were read, wait to be told of, because
 *   the server does not answer or so many were marked at once; the senders of more do not hear of it.
 * - `tabs_unsupported`: tabs cannot share a connection here, because Web Locks or BroadcastChannel is
 *   missing: the newest tab has the device. Serve the page by https.
 */
export type PassingCode =
  | 'api_unreachable'
  | 'api_unavailable'
  | 'token_unavailable'
  | 'token_not_yet_valid'
  | 'connection_failed'
  | 'connection_lost'
  | 'consumer_cancelled'
  | 'handler_failed'
  | 'handler_timeout'
  | 'undecodable'
  | 'unhandled'
  | 'storage_unavailable'
  | 'receipts_dropped'
  | 'tabs_unsupported';

/**
 * Why there is no connection although the application wants one and nothing has failed.
 * - `background`: the app is in the background, and the option `background` says not to stay.
 * - `frozen`: the app is suspended: a frozen page, one in the back/forward cache, a sleeping machine.
 * - `offline`: the device says that it has no network. It is tried all the same, at `retryAt`.
 * - `follower`: another tab has the connection, and shares it.
 */
export type PauseCode = 'background' | 'frozen' | 'offline' | 'follower';

/**
 * Errors in how the SDK is used, thrown at once.
 * - `invalid_options`: an option is missing or wrong; the message says which.
 * - `conflicting_options`: `getClient` was called before for the same user and device with another
 *   value. - `not_started`, `stopped`: `ready()` without `start()`, or after `stop()`; `start()` after
 *   `logout()`. - `logout_incomplete`: `logout()` has cleared everything here, but the server could not
 *   be told; the device's queue goes on collecting until the server removes it. - `send_refused`: the
 *   application does not allow the message, or it cannot be as it is; `history_refused`: the user may not see
 *   that, or the message that the page begins at is not there any more; `push_refused`: the device cannot be
 *   registered for pushes so, or its user does not want any; `devices_refused`: what the user's devices are is not
 *   told, or one cannot be removed. The text has the server's code.
 */
export type UsageCode =
  | 'invalid_options'
  | 'conflicting_options'
  | 'not_started'
  | 'stopped'
  | 'logout_incomplete'
  | 'send_refused'
  | 'history_refused'
  | 'push_refused'
  | 'devices_refused';

export type WarrenErrorCode = TerminalCode | PassingCode | PauseCode | UsageCode;

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
