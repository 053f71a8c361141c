import type { Router } from 'express';
import { CONSOLE_PREFIX, DEFAULT_NAMES, type TopologyNames } from '@warren/rabbitmq';
import { openBroker } from './broker/index.js';
import { probeKey } from './broker/login-probe.js';
import { CONSOLE_TTL_SECONDS, openConsole } from './console/index.js';
import { consolePages } from './console/pages.js';
import { Events } from './events/events.js';
import { PassingEvents } from './events/passing-events.js';
import { Groups } from './groups/groups.js';
import { CaughtUp } from './history/caught-up.js';
import { History } from './history/history.js';
import { Losses } from './history/losses.js';
import { Recovery } from './history/recovery.js';
import { startHistoryWorker } from './history/worker.js';
import { AccessControl } from './http/access.js';
import { withOpenApi } from './http/openapi.js';
import { DEFAULT_RATE_LIMITS, RateLimiter } from './http/rate-limits.js';
import { createRouter } from './http/router.js';
import { createRoutes } from './http/routes/index.js';
import type { Health } from './http/routes/services.js';
import type { Metrics } from './metrics.js';
import { DeadMailboxes } from './mailboxes/dead-mailboxes.js';
import { Depths } from './mailboxes/depths.js';
import { MailboxReplacement } from './mailboxes/replacement.js';
import { MailboxTypes } from './mailboxes/mailbox-type.js';
import { DEFAULT_PUSH, openPush } from './push/index.js';
import { DEFAULT_HISTORY, type WarrenParts } from './parts.js';
import { Presence } from './presence/presence.js';
import { SignedPost } from './outbound/signed-post.js';
import { startWebhooks, trimBindings } from './outbound/webhooks.js';
import type { Publisher } from './publisher/index.js';
import { handOverAnswer } from './publisher/replies.js';
import { ClientMessages } from './sending/client-messages.js';
import { Recipients } from './sending/recipients.js';
import { Requests } from './sending/requests.js';
import { startSendQueue } from './sending/send-queue.js';
import { Sender } from './sending/sender.js';
import { ClientTokens } from './sessions/client-tokens.js';
import { ConnectionQuota } from './sessions/connection-quota.js';
import { Cutoffs } from './sessions/cutoffs.js';
import { Endings } from './sessions/endings.js';
import { Gatekeeper } from './sessions/gatekeeper.js';
import { KeyRing } from './sessions/key-ring.js';
import { OutlivedTokens } from './sessions/outlived-tokens.js';
import { OwnTokens } from './sessions/own-tokens.js';
import { Retirement } from './sessions/retirement.js';
import { Sessions } from './sessions/sessions.js';
import { Upkeep } from './sessions/upkeep.js';
import { UserExport } from './sessions/user-export.js';
import { Users } from './sessions/users.js';
import { openStorage } from './storage/index.js';
import { TimelineWriter } from './timeline/writer.js';
import { UnknownKeyError, type ReloadableKeys } from './reloadable-keys.js';
import { Receipts } from './tracking/receipts.js';
import { Settlement } from './tracking/settlement.js';
import { Tracker } from './tracking/tracker.js';
import { VERSION } from './version.js';

export interface Warren {
  /** The routes of the API, to be mounted anywhere. */
  router: Router;
  publisher: Publisher;
  metrics: Metrics;
  /** Resolves to whether the broker was reached within `timeoutMs`. */
  ready: (timeoutMs?: number) => Promise<boolean>;
  /**
   * Takes other keys into use while all goes on. A signing key that the broker does not know is not.
   * @throws {UnknownKeyError} nothing was changed then.
   */
  reload: (keys: ReloadableKeys) => Promise<void>;
  /** Lets sends end, then closes connections and the database. Idempotent. */
  close: () => Promise<void>;
}

/** The composition: all that Warren is made of is put together here and nowhere else. */
export async function assembleWarren(parts: WarrenParts): Promise<Warren> {
  const { amqpUrl, logger } = parts;
  const vhost = vhostOf(amqpUrl);
  const names: TopologyNames = { ...DEFAULT_NAMES, ...parts.names, vhost };
  const prefixes = { user: names.userPrefix, live: names.livePrefix };
  const queuePrefix = `${names.userPrefix}.`;

  const storage = await openStorage(
    { dataDir: parts.dataDir, url: parts.databaseUrl },
    (error: Error) => {
      logger.warn({ err: error }, 'a connection to the database had an error');
    },
  );
  const { devices, locks } = storage;
  const timeline = new TimelineWriter(storage.timeline, logger);
  const { maxDevices = 50, sessionTtlSeconds = 3600, expiryGraceMs = 10_000 } = parts;
  const { managementUrl } = parts;
  const broker = openBroker({ amqpUrl, managementUrl, names, storage, logger });
  const { publisher, link, provisioner, exchanges, management, watch, connections, metrics } =
    broker;
  const { deadQueues } = broker;

  const events = new Events({ channel: broker.internal, outbox: storage.outbox, logger });
  const passing = new PassingEvents(broker.internal);
  const keys = new KeyRing(parts.signingKey);
  const cutoffs = new Cutoffs(storage.cutoffs);
  const history = new History({ storage, channel: broker.internal });
  const tracker = new Tracker({
    isStored: (id) => history.has(id),
    store: storage.messages,
    outcomes: storage.outcomes,
    devices,
    pushDecisions: storage.pushDecisions,
    events,
    unconfirmedAfterMs: parts.unconfirmedAfterMs ?? 60_000,
  });
  const endings = new Endings({
    store: devices,
    locks,
    provisioner,
    connections,
    tracker,
    events,
    timeline,
    logger,
  });
  const groups = new Groups({
    store: storage.groups,
    devices,
    locks,
    exchanges,
    provisioner,
    link,
    forgetHistory: (group) => history.forgetGroup(group),
  });
  const mailboxTypes = new MailboxTypes({
    setting: parts.mailboxType ?? 'auto',
    link,
    management,
    logger,
  });
  const replacement = new MailboxReplacement({
    store: storage.mailboxes,
    devices,
    locks,
    wantedType: () => mailboxTypes.wanted(),
    provisioner,
    deadQueues,
    connections,
    groups,
    tracker,
    timeline,
    counter: metrics.deadMailboxes,
    exchange: names.exchange,
    prefixes,
    logger,
  });
  const deadMailboxes = new DeadMailboxes({ deadQueues, devices, locks, replacement, logger });
  const depths = new Depths({ management, provisioner });
  const sessions = new Sessions({
    store: devices,
    locks,
    cutoffs,
    endings,
    retirement: new Retirement({
      expired: storage.expiredDevices,
      connections,
      provisioner,
      endings,
    }),
    groups,
    mailboxTypes,
    replacement,
    tracker,
    events,
    timeline,
    provisioner,
    connections,
    tokens: new ClientTokens({ keys, vhost, ttlSeconds: sessionTtlSeconds }),
    prefixes,
    vhost,
    endpoints: parts.endpoints,
    prefetch: parts.prefetch ?? 50,
    maxDevices,
    logger,
  });
  const upkeep = new Upkeep({
    watch,
    management,
    provisioner,
    connections,
    storage,
    endings,
    groups,
    replacement,
    deadQueues,
    deadMailboxes,
    tracker,
    timeline,
    passingDeviceMs: parts.passingDeviceMs ?? 300_000,
    logger,
  });
  const gatekeeper = new Gatekeeper({
    watch,
    connections,
    provisioner,
    store: devices,
    queuePrefix,
    graceMs: expiryGraceMs,
    logger,
  });
  const outlivedTokens = new OutlivedTokens({
    watch,
    connections,
    lifetimesMs: {
      [queuePrefix]: sessionTtlSeconds * 1000 + expiryGraceMs,
      [CONSOLE_PREFIX]: CONSOLE_TTL_SECONDS * 1000 + expiryGraceMs,
    },
    logger,
  });
  const quota = new ConnectionQuota({
    watch,
    connections,
    devices,
    timeline,
    queuePrefixes: [queuePrefix, CONSOLE_PREFIX],
    logger,
  });
  const presence = new Presence({
    watch,
    devices,
    store: storage.presence,
    events,
    queuePrefix,
    graceMs: parts.offlineGraceMs ?? 2000,
    logger,
  });
  const rates = new RateLimiter(parts.rateLimits ?? DEFAULT_RATE_LIMITS);
  const push = openPush({
    parts: parts.push ?? DEFAULT_PUSH,
    exchange: names.exchange,
    storage,
    broker,
    cutoffs,
    events,
    maxDevices,
    registry: metrics.registry,
    logger,
  });
  const consoleSide = openConsole({
    parts,
    names,
    prefixes,
    storage,
    broker,
    keys,
    timelineWriter: timeline,
    events: passing,
    pushes: push.metrics?.pushes,
  });
  const users = new Users({
    store: devices,
    expired: storage.expiredDevices,
    cutoffs,
    endings,
    groups,
    connections,
    depths,
    provisioner,
    history,
    pushDevices: storage.pushDevices,
    trail: storage.userTrail,
    timeline,
    tracker,
  });
  const settlement = new Settlement({
    amqpUrl,
    tracker,
    deadLetters: consoleSide.services.deadLetters,
    losses: new Losses({ devices, publisher }),
    outcomes: storage.outcomes,
    events,
    logger,
  });
  const sender = new Sender({
    publisher,
    provisioner,
    recipients: new Recipients({ devices, groups, watch }),
    groups,
    tracker,
    pushJobs: push.jobs,
    rates,
    audit: storage.audit,
    timeline,
    metrics,
    onUnconfirmed: () => {
      // A mailbox that is dead is the likeliest reason, with a broker that is there.
      if (broker.isUp()) void deadQueues.look();
    },
    logger,
  });
  const { patterns = [] } = parts.webhooks ?? {};
  trimBindings({ link, management, provisioner, patterns, logger });
  if (parts.webhooks !== undefined) {
    const { url, secret } = parts.webhooks;
    startWebhooks({ post: new SignedPost(url, secret), workQueues: broker.workQueues, patterns });
  }
  startSendQueue({ sender, events, workQueues: broker.workQueues, logger });
  const { limits, hasWorker } = parts.history ?? DEFAULT_HISTORY;
  const historyWorker = hasWorker
    ? startHistoryWorker({
        amqpUrl,
        exchange: names.exchange,
        storage,
        limits,
        channel: broker.internal,
        logger,
      })
    : undefined;
  const health = async (): Promise<Health> => ({
    checks: {
      broker: broker.isUp() ? 'up' : 'down',
      database: (await storage.isUp()) ? 'up' : 'down',
    },
    deadMailboxes: deadQueues.count,
  });
  const ownTokens = new OwnTokens(keys);
  const routes = createRoutes({
    sessions,
    users,
    userExport: new UserExport({ storage, history, ...consoleSide.services }),
    groups,
    ownTokens,
    sender,
    tracker,
    receipts: new Receipts({ tracker, publisher, events: passing, timeline, rates, metrics }),
    requests: new Requests({ publisher, devices, watch }),
    clientMessages: new ClientMessages({ sender, groups, policy: parts.policy, rates }),
    answer: (answer) => handOverAnswer(broker.internal, answer),
    presence,
    history,
    registrations: push.registrations,
    recovery: new Recovery({ storage, caughtUp: new CaughtUp(broker.internal, storage.history) }),
    ...consoleSide.services,
    directory: storage.directory,
    audit: storage.audit,
    metrics,
    servesMetrics: parts.servesMetrics ?? true,
    health,
  });
  let { serviceKeys, adminKeys = [] } = parts;
  const router = createRouter({
    console: consolePages(parts.endpoints.stomp),
    routes: withOpenApi([...routes, ...(parts.extraRoutes ?? [])], VERSION),
    access: new AccessControl({
      serviceKeys: () => serviceKeys,
      adminKeys: () => adminKeys,
      adminTokens: consoleSide.services.adminTokens,
      ownTokens,
      authenticate: parts.authenticate,
      refuseRevoked: (identity) => cutoffs.refuseRevoked(identity),
    }),
    rates,
    audit: storage.audit,
    metrics,
    logger,
  });

  let closing: Promise<void> | undefined;
  const closeAll = async (): Promise<void> => {
    quota.close();
    outlivedTokens.close();
    const first = [
      gatekeeper,
      upkeep,
      replacement,
      deadMailboxes,
      presence,
      settlement,
      consoleSide,
    ];
    await Promise.all(first.map((part) => part.close()));
    await endings.settled();
    await historyWorker?.close();
    await push.close();
    await broker.workQueues.close();
    await timeline.close();
    await events.close();
    await broker.close();
    await storage.close();
  };
  return {
    router,
    publisher,
    metrics,
    ready: (timeoutMs = 10_000) => broker.ready(timeoutMs),
    reload: async (next) => {
      const ring = new KeyRing(next.signingKey);
      if (ring.signing.kid !== keys.signing.kid) {
        const { verdict } = await probeKey(amqpUrl, ring);
        if (verdict !== 'accepted') throw new UnknownKeyError(ring.signing.kid, verdict);
      }
      keys.replaceBy(ring);
      ({ serviceKeys, adminKeys } = next);
    },
    close: () => (closing ??= closeAll()),
  };
}

function vhostOf(amqpUrl: string): string {
  const path = new URL(amqpUrl).pathname.slice(1);
  return path === '' ? DEFAULT_NAMES.vhost : decodeURIComponent(path);
}
