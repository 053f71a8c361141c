/** Why a private broker could not be started. */
export type BrokerErrorCode =
  /** No `rabbitmq-server` on this machine. */
  | 'broker_not_installed'
  /** Something else listens on a port that was given or that was used before. */
  | 'port_taken'
  /** The data directory cannot be made or written. */
  | 'data_dir_not_writable'
  /** The node ended, or did not get ready in time. */
  | 'broker_start_failed';

/** Says what went wrong in its message, and what to do about it in `remedy`. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError';
  constructor(
    readonly code: BrokerErrorCode,
    message: string,
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
