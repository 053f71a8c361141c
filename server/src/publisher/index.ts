/**
 * Publishes to users from Node, without HTTP. Loads neither database nor server. Begin at {@link createPublisher}.
 *
 * @module @warren/server/publisher
 */
export { PublishError, type PublishErrorCode } from './errors.js';
export type { SendOptions } from './compose.js';
export type { LinkState } from './confirm-channel.js';
export {
  createPublisher,
  Publisher,
  type DeviceAddress,
  type EventMap,
  type PublisherOptions,
  type SendResult,
} from './publisher.js';
