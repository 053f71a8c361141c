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
