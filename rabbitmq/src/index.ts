export {
  Broker,
  findServerScript,
  type BrokerEndpoints,
  type BrokerOptions,
  type TlsFiles,
} from './broker.js';
export {
  backendAccount,
  BROADCAST,
  CONSOLE_PREFIX,
  DEAD_LETTERS,
  DEFAULT_NAMES,
  EVENTS,
  EVENTS_EXCHANGE,
  EVENTS_VHOST,
  GROUP_PREFIX,
  HISTORY,
  HISTORY_ARGUMENTS,
  liveOf,
  PUSH,
  PUSH_PROVIDERS,
  pushQueueOf,
  REPLIES,
  RETRY,
  SEND,
  serverAccount,
  topology,
  TRACE_PREFIX,
  WAIT_PREFIX,
  waitOf,
  WAITS_MS,
  type Account,
  type Definitions,
  type Permissions,
  type Policy,
  type TopologyNames,
} from './definitions.js';
export { BrokerError, type BrokerErrorCode } from './errors.js';
export { ensureSigningKey, generateSigningKey, keyId, type SigningKey } from './keys.js';
export { freePorts, isPortFree } from './ports.js';
export { waitUntil } from './processes.js';
export type { BrokerPorts } from './state.js';
