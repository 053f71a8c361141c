import type { Logger } from 'pino';
import type { ControlLink } from '../broker/control-link.js';
import type { ManagementApi } from '../broker/management.js';
import type { MailboxType } from '../storage/schema.js';

/** What an operator may ask for. `auto`: what suits the broker, see {@link suitableType}. */
export const MAILBOX_TYPES = ['auto', 'quorum', 'classic'] as const;
export type MailboxTypeSetting = (typeof MAILBOX_TYPES)[number];

export interface MailboxTypesOptions {
  setting: MailboxTypeSetting;
  link: ControlLink;
  management: ManagementApi;
  logger: Logger;
}

/**
 * The type of mailbox that suits a broker: quorum on a cluster, where nothing else outlives the loss of a
 * node; classic on a single node. There a quorum queue that is killed within moments of being declared comes
 * back without its confirmed messages (measured on 4.3.6), or not at all (3.10.8, 4.0.5): Raft's list of
 * its members is written to disk only once nothing has changed in it for half a second (ra_directory.erl).
 * @param nodes of the cluster.
 */
export const suitableType = (nodes: number): MailboxType => (nodes > 1 ? 'quorum' : 'classic');

/** Also those that do not run; undefined when this account may not know. */
export async function countNodes(management: ManagementApi): Promise<number | undefined> {
  const nodes = (await management.get('/nodes?columns=name')) as unknown[] | undefined;
  return nodes?.length;
}

/** Knows which type mailboxes are to have. */
export class MailboxTypes {
  readonly #options: MailboxTypesOptions;
  /** Of the broker as it was when it was last asked. */
  #type: MailboxType | undefined;
  #asking: Promise<void> | undefined;

  constructor(options: MailboxTypesOptions) {
    this.#options = options;
    if (options.setting !== 'auto') return;
    // The broker may be another one than before, or have become a cluster.
    options.link.onConnected(() => {
      void this.#refresh();
    });
  }

  /** Undefined while the broker has not said how many nodes it has: sessions do not depend on the management API. */
  async wanted(): Promise<MailboxType | undefined> {
    const { setting } = this.#options;
    if (setting !== 'auto') return setting;
    if (this.#type === undefined) await this.#refresh();
    return this.#type;
  }

  /** Of a mailbox that is made now. A wrong guess is replaced at its device's next session. */
  async ofNew(): Promise<MailboxType> {
    return (await this.wanted()) ?? 'classic';
  }

  /** Never rejects. */
  #refresh(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    const { management, logger } = this.#options;
    try {
      const nodes = await countNodes(management);
      if (nodes !== undefined) this.#type = suitableType(nodes);
    } catch (error) {
      const text = 'how many nodes the broker has is not known, so new mailboxes are as before';
      logger.warn({ err: error }, text);
    }
  }
}
