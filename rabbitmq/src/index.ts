export { Broker } from './broker.js';
export {
  backendAccount,
  serverAccount,
  topology,
  type Account,
  type Definitions,
  type Permissions,
} from './definitions.js';
export { BrokerError, type BrokerErrorCode } from './errors.js';
export { ensureSigningKey, generateSigningKey, keyId, type SigningKey } from './keys.js';
export { findServerScript, installedVersion } from './installation.js';
export {
  BROADCAST,
  CONNECTION_JOURNAL_ARGUMENTS,
  connectionJournalOf,
  connectionJournalPrefix,
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
  TRACE_PREFIX,
  WAIT_PREFIX,
  waitOf,
  WAITS_MS,
  type TopologyNames,
} from './names.js';
export type { BrokerEndpoints, BrokerOptions, TlsFiles } from './options.js';
export { QUORUM_POLICY, USER_POLICY, type Policy } from './policies.js';
export { freePorts, isPortFree } from './ports.js';
export { waitUntil } from './processes.js';
export type { BrokerPorts } from './state.js';
export {
  CHECKS_ORIGINS,
  isAtLeast,
  LIMITS_DELIVERIES,
  parseVersion,
  RAISES_FRAMES,
  SURVIVES_HEADERS,
  type Version,
} from './version.js';
export { FANOUT_SHARDS, shardFor, shardsOf } from './fanouts.js';
