import type { TopologyNames } from './names.js';
import type { BrokerPorts } from './state.js';

export interface BrokerOptions {
  /** Where the node keeps its data, log, cookie, keys and passwords. Made when missing. */
  dataDir: string;
  /** Ports on loopback. Those left out are free ones, and stay the same between starts. */
  ports?: Partial<BrokerPorts>;
  names?: TopologyNames;
  /** The `rabbitmq-server` script. Default: the first one found in the usual places. */
  serverScript?: string;
  /**
   * Runs the node in this root directory, with `chroot`: for another version of RabbitMQ than the
   * machine's. `dataDir` must lie inside it. Asks for root.
   */
  chroot?: string;
  /**
   * Clients, the server and the management API are served by TLS alone, by this certificate; all but the
   * launcher's own questions, on another port of loopback. Default: plain text, on loopback.
   */
  tls?: TlsFiles;
  /**
   * An IPv4 address of this machine where clients reach Web-STOMP and AMQP, in plain text; so not together with
   * `tls`. AMQP is on loopback as well, and all else is there alone. Default: loopback.
   */
  clientHost?: string;
  /**
   * Pages whose WebSockets are let in, by their origins (`http://127.0.0.1:8080`), from RabbitMQ 4.2.6 on; older ones
   * look at none. The key has no wildcards, and a developer's page may have any port: so the default is every page,
   * on loopback, none of which gets further than its token. Clients without an origin are always let in.
   */
  allowOrigins?: string[];
  /**
   * How often a quorum queue looks after itself (its figures, `expires`), in milliseconds. Default as in
   * advanced.config, 60,000.
   */
  quorumTickMs?: number;
  /** How long a start may take until it is called failed, in milliseconds. Default 600,000: queues recover first. */
  startTimeoutMs?: number;
}

/** Paths of PEM files. */
export interface TlsFiles {
  ca: string;
  cert: string;
  key: string;
}

/** Addresses and secrets of a running broker. */
export interface BrokerEndpoints {
  /** The server's account, vhost included. */
  amqpUrl: string;
  /** The account of a back end that publishes, vhost included. */
  backendAmqpUrl: string;
  /** Without credentials: what clients are told. */
  clientAmqpUrl: string;
  stompUrl: string;
  /** The server's account. */
  managementUrl: string;
  /** Of the Prometheus plugin, from this machine alone. */
  metricsUrl: string;
}
