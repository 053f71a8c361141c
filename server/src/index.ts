/**
 * Warren inside an application of your own. Begin at {@link createWarren}.
 *
 * @module @warren/server
 */
export { ConfigError, readConfig, type Config, type ConfigProblem } from './config.js';
export {
  createWarren,
  type CreateWarrenOptions,
  type EmbeddedKeys,
  type EmbeddedWarren,
} from './embed.js';
export { createLogger, type LogLevel } from './logger.js';
export type { AllowedWithPush, ClientMessage, Policy } from './outbound/policy.js';
export {
  createPublisher,
  PublishError,
  Publisher,
  type DeviceAddress,
  type EventMap,
  type PublishErrorCode,
  type PublisherOptions,
  type SendOptions,
  type SendResult,
} from './publisher/index.js';
export { PortTakenError, startServer, type RunningServer, type ServerExtras } from './server.js';
export { UnknownKeyError } from './reloadable-keys.js';
export type { WarrenEvent } from '@warren/protocol';
