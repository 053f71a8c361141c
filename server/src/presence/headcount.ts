import { Gauge, type Registry } from 'prom-client';
import type { BrokerWatch, ClientConnection } from '../broker/watch.js';

/** Counts who is connected, as they come and go: a listing of tens of thousands is too much for each second. */
export class Headcount {
  /** Connections to the mailboxes that they are for. */
  readonly #queues = new Map<string, string>();
  readonly #devices = new Map<string, number>();
  readonly #users = new Map<string, number>();

  /** @param queuePrefix what the names of all mailboxes begin with. */
  constructor(
    private readonly watch: BrokerWatch,
    private readonly queuePrefix: string,
  ) {
    for (const event of ['authenticated', 'found'] as const) {
      watch.on(event, (connection: ClientConnection) => {
        this.#add(connection);
      });
    }
    watch.on('closed', ({ name }) => {
      this.#remove(name);
    });
    // Listed anew.
    watch.on('began', () => {
      for (const counts of [this.#queues, this.#devices, this.#users]) counts.clear();
    });
  }

  /** Counts for Prometheus, which are missing while they are not known. */
  expose(registry: Registry): void {
    for (const what of ['users', 'devices'] as const) {
      const read = (): number => this.now?.[what] ?? NaN;
      new Gauge({
        name: `warren_${what}_online`,
        help: `How many ${what} are connected to the broker; every server sees all of them.`,
        registers: [registry],
        collect() {
          this.set(read());
        },
      });
    }
  }

  /** Undefined while it is not known. */
  get now(): { users: number; devices: number } | undefined {
    if (!this.watch.isListed) return undefined;
    return { users: this.#users.size, devices: this.#devices.size };
  }

  #add({ name, user, login }: ClientConnection): void {
    const queue = user ?? login;
    this.#remove(name);
    if (!queue.startsWith(this.queuePrefix)) return;
    this.#queues.set(name, queue);
    change(this.#devices, queue, 1);
    change(this.#users, userPartOf(queue), 1);
  }

  #remove(name: string): void {
    const queue = this.#queues.get(name);
    if (queue === undefined) return;
    this.#queues.delete(name);
    change(this.#devices, queue, -1);
    change(this.#users, userPartOf(queue), -1);
  }
}

/** `user.<user>` of `user.<user>.<device>.<nonce>`. */
const userPartOf = (queue: string): string =>
  queue.slice(0, queue.indexOf('.', queue.indexOf('.') + 1));

function change(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
