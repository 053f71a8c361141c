import { randomUUID } from 'node:crypto';
import { pushProviderSchema, type PushProviderName } from '@warren/protocol';
import { PostponedJob } from '../broker/job.js';
import type { Decision, Due, PushDecisionStore, PushedMessage } from '../storage/push-decisions.js';
import type { PushDevice } from '../storage/push-devices.js';
import type { PushAddress, PushStore } from '../storage/pushes.js';
import type { DecideJob, PushJobs } from './jobs.js';
import type { PushMetrics } from './metrics.js';
import { pushExpiresAt } from './notification.js';
import { quietUntil } from './quiet-hours.js';

export interface DeciderOptions {
  decisions: PushDecisionStore;
  pushes: PushStore;
  jobs: PushJobs;
  /** How many pushes of one message each provider takes at once. */
  batchSizeOf: (provider: PushProviderName) => number;
  /** Called when outcomes have changed. */
  onNews: () => void;
  metrics: PushMetrics;
}

/** Recipients that are decided in one transaction. */
const PAGE = 500;

/** Sees who has not acked a message in time, and has each of their devices get a push. */
export class Decider {
  readonly #options: DeciderOptions;

  constructor(options: DeciderOptions) {
    this.#options = options;
  }

  /** May be done again: what was decided stays so. @throws {PostponedJob} when others are due later. */
  async run({ id }: DecideJob): Promise<void> {
    const { decisions, onNews } = this.#options;
    const message = await decisions.find(id);
    // It is long over, or was never sent.
    if (message === undefined) return;
    const now = Date.now();
    const decide = (due: Due): Decision => this.#decide(message, due, now);
    // What a worker has decided that has died since.
    await this.#handOver(message);
    while (await decisions.decide(id, { now, limit: PAGE }, decide)) {
      onNews();
      await this.#handOver(message);
    }
    const next = await decisions.nextDue(id);
    if (next !== undefined) throw new PostponedJob(next);
  }

  #decide(message: PushedMessage, { user, hasCopy, devices: all }: Due, now: number): Decision {
    const { metrics } = this.#options;
    const { target } = message;
    // What is for one device is not shown on another.
    const devices =
      'device' in target ? all.filter(({ deviceId }) => deviceId === target.device.device) : all;
    const isMuted = ({ preferences }: PushDevice): boolean =>
      'group' in target && preferences.mutedGroups.includes(target.group);
    const isTooQuiet = ({ preferences: { quietHours } }: PushDevice): boolean =>
      quietHours !== undefined &&
      (quietUntil(quietHours, now) ?? 0) > pushExpiresAt(message.push, message);
    const loud = devices.filter((device) => !isMuted(device));
    const wanted = loud.filter((device) => !isTooQuiet(device));
    metrics.decisions.inc({ decision: wanted.length > 0 ? 'push' : 'no_push_device' });
    if (wanted.length > 0) return { user, devices: wanted };
    // Who does not want a push finds the message in the mailbox.
    if (devices.length > 0 && hasCopy) return { user, devices: [] };
    const reason = loud.length > 0 ? 'quiet_hours' : devices.length > 0 ? 'muted' : 'no_device';
    return { user, devices: [], failureReason: reason };
  }

  /** Puts what was decided into the queues of its providers. */
  async #handOver({ id }: PushedMessage): Promise<void> {
    const { decisions, pushes, jobs, batchSizeOf } = this.#options;
    for (;;) {
      const fresh = await decisions.listNew(id, PAGE);
      if (fresh.length === 0) return;
      const batches = pushProviderSchema.options.flatMap((provider) => {
        const to = fresh
          .filter((push) => push.provider === provider)
          .map(({ user, device }) => ({ user, device }));
        return chunks(to, batchSizeOf(provider)).map((chunk) => ({ provider, to: chunk }));
      });
      await Promise.all(
        batches.map(({ provider, to }) =>
          jobs.deliver(provider, { id, to, owner: randomUUID(), failures: 0 }),
        ),
      );
      await pushes.setHandedOver(id, fresh);
    }
  }
}

function chunks(list: PushAddress[], size: number): PushAddress[][] {
  const result: PushAddress[][] = [];
  for (let start = 0; start < list.length; start += size) {
    result.push(list.slice(start, start + size));
  }
  return result;
}
