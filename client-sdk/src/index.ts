export {
  getClient,
  type Client,
  type ClientEvents,
  type EventMap,
  type MessageOf,
} from './client.js';
export {
  TerminalError,
  UnauthorizedError,
  WarrenError,
  type PassingCode,
  type TerminalCode,
  type UsageCode,
  type WarrenErrorCode,
} from './errors.js';
export type { Message } from './message.js';
export type { ClientOptions } from './options.js';
export type { ClientStorage, Platform } from './platform.js';
export type { GetToken, TokenReason } from './session.js';
export type { Snapshot, State, StateChange } from './state.js';
export { stomp, type StompOptions } from './stomp.js';
export {
  TransportError,
  type ConnectOptions,
  type Delivery,
  type DeliveryProperties,
  type Transport,
  type TransportConnection,
  type TransportFailure,
} from './transport.js';
