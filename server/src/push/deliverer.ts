import type { PushProviderName } from '@warren/protocol';
import type { Logger } from 'pino';
import { RateLimiterMemory, RateLimiterQueue } from 'rate-limiter-flexible';
import type { PushDecisionStore } from '../storage/push-decisions.js';
import type { PushDevice, PushDeviceStore } from '../storage/push-devices.js';
import type { PushAddress, PushStore } from '../storage/pushes.js';
import type { DeliverJob, PushJobs } from './jobs.js';
import type { PushMetrics } from './metrics.js';
import { toOutgoing } from './notification.js';
import type { OutgoingPush, PushProvider, PushResult } from './providers/provider.js';
import { quietUntil } from './quiet-hours.js';

export interface DelivererOptions {
  name: PushProviderName;
  /** Undefined: it is not configured any more. */
  provider: PushProvider | undefined;
  /** How many pushes a second, in this process; 0 is no limit. */
  rate: number;
  /** How often a push is tried. */
  attempts: number;
  decisions: PushDecisionStore;
  devices: PushDeviceStore;
  pushes: PushStore;
  jobs: PushJobs;
  /** Called when outcomes have changed. */
  onNews: () => void;
  metrics: PushMetrics;
  logger: Logger;
}

/** After the first failure, in milliseconds; each further one takes four times as long. */
const BACKOFF = { baseMs: 1000, factor: 4, maxMs: 60 * 60 * 1000 };

/** A push with what becomes of it. */
interface Attempt {
  address: PushAddress;
  push: OutgoingPush;
}
type Failure = Extract<PushResult, { kind: 'failed' }>;
type Refusal = Extract<PushResult, { kind: 'refused' }>;

/** Hands pushes to one provider, until it has taken them or will not. */
export class Deliverer {
  readonly #options: DelivererOptions;
  readonly #rate: RateLimiterQueue | undefined;

  constructor(options: DelivererOptions) {
    this.#options = options;
    const { rate } = options;
    if (rate > 0) {
      const limiter = new RateLimiterMemory({ points: rate, duration: 1 });
      this.#rate = new RateLimiterQueue(limiter, { maxQueueSize: Number.MAX_SAFE_INTEGER });
    }
  }

  /** May be done again: what was taken is not sent again. */
  async run(job: DeliverJob): Promise<void> {
    const { name, decisions, pushes, provider } = this.#options;
    const message = await decisions.find(job.id);
    if (message === undefined) return;
    await this.#waitForTurn(job.to.length);
    const { id, owner } = job;
    const open = await pushes.claimOpen({ id, provider: name, owner }, job.to);
    const attempts: Attempt[] = [];
    const gone: PushAddress[] = [];
    for (const { user, device, registration } of open) {
      const address = { user, device };
      if (registration === undefined) gone.push(address);
      else if (!(await this.#waitsForMorning(job, address, registration))) {
        attempts.push({ address, push: toOutgoing(message, registration) });
      }
    }
    // Logged out, or registered anew with another provider.
    await this.#giveUp(job, gone, { kind: 'refused', reason: 'unregistered' });
    const isLate = ({ push }: Attempt): boolean => push.expiresAt <= Date.now();
    const late = attempts.filter(isLate).map(({ address }) => address);
    await this.#giveUp(job, late, { kind: 'refused', reason: 'expired' });
    const timely = attempts.filter((attempt) => !isLate(attempt));
    if (timely.length === 0) return;
    const results =
      provider === undefined
        ? timely.map((): PushResult => ({ kind: 'refused', reason: 'not_configured' }))
        : await this.#send(provider, timely);
    await this.#settle(job, timely, results);
  }

  /** Before it is looked at who has acked meanwhile. */
  async #waitForTurn(count: number): Promise<void> {
    if (this.#rate === undefined) return;
    const { rate } = this.#options;
    for (let left = count; left > 0; left -= rate) {
      await this.#rate.removeTokens(Math.min(left, rate));
    }
  }

  /** It comes again when the device's quiet hours end. */
  async #waitsForMorning(
    job: DeliverJob,
    address: PushAddress,
    { preferences: { quietHours } }: PushDevice,
  ): Promise<boolean> {
    const until = quietHours && quietUntil(quietHours, Date.now());
    if (until === undefined) return false;
    await this.#options.jobs.deliver(this.#options.name, { ...job, to: [address] }, until);
    return true;
  }

  async #send(provider: PushProvider, attempts: Attempt[]): Promise<PushResult[]> {
    const { name, metrics } = this.#options;
    const stop = metrics.seconds.startTimer({ provider: name });
    const results = await provider.send(attempts.map(({ push }) => push));
    stop();
    for (const { kind } of results) metrics.pushes.inc({ provider: name, result: kind });
    return results;
  }

  async #settle(job: DeliverJob, attempts: Attempt[], results: PushResult[]): Promise<void> {
    const { name, devices, pushes, onNews } = this.#options;
    const ofKind = <Kind extends PushResult['kind']>(kind: Kind) =>
      attempts.flatMap(({ address, push }, index) => {
        const result = results[index];
        return result?.kind === kind
          ? [{ address, push, result: result as Extract<PushResult, { kind: Kind }> }]
          : [];
      });
    const sent = ofKind('sent').map(({ address }) => address);
    await pushes.setSent(job.id, sent, Date.now());
    if (sent.length > 0) onNews();
    for (const { address, push } of ofKind('unregistered')) {
      await devices.removeToken({ provider: name, token: push.token, userId: address.user });
      await this.#giveUp(job, [address], { kind: 'refused', reason: 'unregistered' });
    }
    for (const { address, result } of ofKind('refused')) {
      await this.#giveUp(job, [address], result);
    }
    await this.#tryAgain(job, ofKind('failed'));
  }

  /** Those that failed, together where they may: the provider takes them so. */
  async #tryAgain(job: DeliverJob, failed: (Attempt & { result: Failure })[]): Promise<void> {
    const [first] = failed;
    if (first === undefined) return;
    const { name, attempts, jobs } = this.#options;
    const failures = job.failures + 1;
    const retryAfterMs = Math.max(...failed.map(({ result }) => result.retryAfterMs ?? 0));
    const at = Date.now() + Math.max(retryAfterMs, backoffMs(failures));
    const isOver = ({ push }: Attempt): boolean => failures >= attempts || push.expiresAt <= at;
    for (const attempt of failed.filter(isOver)) {
      await this.#giveUp(job, [attempt.address], attempt.result);
    }
    const to = failed.filter((attempt) => !isOver(attempt)).map(({ address }) => address);
    if (to.length > 0) await jobs.deliver(name, { ...job, to, failures }, at);
  }

  async #giveUp(
    job: DeliverJob,
    to: PushAddress[],
    { reason, detail }: Failure | Refusal,
  ): Promise<void> {
    if (to.length === 0) return;
    const { name, pushes, jobs, onNews, logger, metrics } = this.#options;
    const text = detail === undefined ? reason : `${reason}: ${detail}`;
    const { id } = job;
    await jobs.bury(name, { ...job, to }, text);
    await pushes.setFailed(id, to, { reason, now: Date.now() });
    onNews();
    metrics.pushes.inc({ provider: name, result: 'given_up' }, to.length);
    // Tokens die every day; all else somebody may want to look into.
    if (reason === 'unregistered') return;
    logger.warn({ provider: name, messageId: id, count: to.length, reason: text }, 'a push failed');
  }
}

/** Not all at once: a provider that comes back would be pushed over again. */
function backoffMs(failures: number): number {
  const { baseMs, factor, maxMs } = BACKOFF;
  const fullMs = Math.min(maxMs, baseMs * factor ** (failures - 1));
  return fullMs * (0.5 + Math.random() / 2);
}
