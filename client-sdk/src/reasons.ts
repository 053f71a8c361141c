import { WarrenError, type PauseCode } from './errors.js';
import { TransportError } from './transport.js';

export const pauseReason = (code: PauseCode, options?: ErrorOptions): WarrenError =>
  new WarrenError(code, `There is no connection for now: ${code}.`, options);

/**
 * What broke an attempt or a connection, as the application is told of it.
 * @param where the broker's address, and for how long it was connected to.
 */
export function toReason(error: unknown, where: string): WarrenError {
  if (error instanceof WarrenError) return error as WarrenError;
  if (error instanceof TransportError) {
    const code = error.failure === 'cancelled' ? 'consumer_cancelled' : 'connection_lost';
    return new WarrenError(code, `${error.message} ${where}`, { cause: error });
  }
  return new WarrenError('connection_failed', 'It could not connect.', {
    cause: error,
  });
}
