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
  DEAD_LETTERS,
  DEFAULT_NAMES,
  EVENTS,
  EVENTS_EXCHANGE,
  EVENTS_VHOST,
  GROUP_PREFIX,
  HISTORY,
  HISTORY_ARGUMENTS,
  liveOf,
  REPLIES,
  RETRY,
  SEND,
  serverAccount,
  topology,
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
