// One job, as a process of its own: it counts the primes up to a number, and says how far it is. Of the user it
// knows the id alone, and of Warren the broker: no HTTP.
import { createPublisher, type SendOptions } from '@warren/server/publisher';
import type { Progress, ProgressEvents } from './events.js';

const [user = '', job = '', limit = ''] = process.argv.slice(2);
const total = Number(limit);
const publisher = createPublisher<ProgressEvents>({ amqpUrl: process.env['AMQP_URL'] ?? '' });

/** As often as a bar can move. Whoever is away for more than a moment misses it. */
const TICK_MS = 100;
/** These wait for who is away. Few, since each takes a place in the mailbox until then. */
const MILESTONES = 10;

const isPrime = (number: number): boolean => {
  for (let divisor = 2; divisor * divisor <= number; divisor++)
    if (number % divisor === 0) return false;
  return number > 1;
};

async function tell(progress: Progress, options: SendOptions): Promise<void> {
  // A bar that does not move for a while is no reason to end the job.
  await publisher.toUser(user, 'job.progress', progress, options).catch(() => undefined);
}

let found = 0;
let tickedAt = 0;
for (let done = 1; done <= total; done++) {
  if (isPrime(done)) found++;
  const isMilestone = done % Math.ceil(total / MILESTONES) === 0;
  // A look at the clock costs more than most numbers.
  if (!isMilestone && done % 500 !== 0) continue;
  const now = Date.now();
  if (!isMilestone && now - tickedAt < TICK_MS) continue;
  tickedAt = now;
  const progress = { job, done, total, found };
  // Of those that have come together, only the newest is handled.
  await tell(progress, { delivery: isMilestone ? 'queued' : 'live', collapseKey: job });
}
// This one has to arrive: its id is the same, however often it is tried.
await sendResult();
await publisher.close();

async function sendResult(): Promise<void> {
  const result = { job, done: total, total, found };
  for (;;) {
    try {
      await publisher.toUser(user, 'job.done', result, { id: `${job}.done` });
      return;
    } catch (error) {
      process.stderr.write(`The result of ${job} is not out yet: ${String(error)}\n`);
    }
  }
}
