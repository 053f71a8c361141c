/**
 * The SDK for browsers, workers, React Native, Node and Electron. Begin at {@link getClient}.
 *
 * @module @warren/client
 */
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
  type PauseCode,
  type TerminalCode,
  type UsageCode,
  type WarrenErrorCode,
} from './errors.js';
export type { HandlerContext } from './handler-context.js';
export type { Background } from './lifecycle.js';
export type { HistoryQuery } from './history.js';
export type { Decode, Message, MessageTarget } from './message.js';
export type { ClientOptions } from './options.js';
export { browser } from './platform/browser.js';
export { electron, type PowerMonitor } from './platform/electron.js';
export { node, type NodeOptions } from './platform/node.js';
export type {
  ClientStorage,
  LifecycleSignal,
  Phase,
  Platform,
  TabChannel,
} from './platform/platform.js';
export type { ClientSendOptions, HistoryPage } from './calls.js';
export type { PushPreferences, PushRegistration, QuietHours } from './push.js';
export type { GetToken, TokenReason } from './api.js';
export type { Gap } from './recovery.js';
export type { Role, Snapshot, State, StateChange } from './state.js';
export type { Handled } from './receipts.js';
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
