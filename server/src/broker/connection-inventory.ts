import pLimit from 'p-limit';
import type { ConnectionStore, RecordedConnection } from '../storage/connections.js';
import type { DeviceStore } from '../storage/devices.js';
import type { ConnectionJournal } from './connection-journal.js';
import type { ManagementApi } from './management.js';
import type { ClientConnection } from './watch.js';

export interface ConnectionInventoryOptions {
  management: ManagementApi;
  journal: ConnectionJournal;
  store: ConnectionStore;
  devices: DeviceStore;
}

/** Questions to the management API at the same time. */
const AT_ONCE = 8;
/** Devices that are asked about after one another. */
const PAGE = 200;
/** Connections that are asked for each time, though nobody has told of their end. */
const AUDIT = 200;
/** How long the journal may take to catch up, in milliseconds: where nothing else knows, and where the API does. */
const CATCH_UP_MS = { needed: 300_000, useful: 3000 };

/**
 * Which connections are open, from before somebody listened. The management API lists them up to RabbitMQ
 * 4.2; from 4.3 on its list is empty where statistics are off, and the journal says who there may be, each of
 * whom is asked for by name.
 */
export class ConnectionInventory {
  readonly #options: ConnectionInventoryOptions;
  readonly #limit = pLimit(AT_ONCE);
  #audited = 0;

  constructor(options: ConnectionInventoryOptions) {
    this.#options = options;
  }

  /**
   * @param isKnown whether it has been heard of a connection, so that it need not be asked for.
   * @param isFirst whether what happened before is still to be learnt; later on, the journal's last moment
   *   makes no difference.
   * @returns all that are open, but for those known ones that no list has. @throws {HttpProblem}
   *   `broker_unavailable`
   */
  async list(isKnown: (name: string) => boolean, isFirst: boolean): Promise<ClientConnection[]> {
    const { management, store } = this.#options;
    const listed = await management.connections();
    // A server that asks is connected itself.
    const isBlind = listed.length === 0;
    const isExact = isFirst && (await this.#catchUp(isBlind));
    const recorded = await store.list();
    const logins = new Map(listed.map(({ name, login }) => [name, login]));
    const doubtful = [...recorded.values()].filter(
      ({ name }) => !logins.has(name) && !isKnown(name),
    );
    const gone =
      isBlind && isExact
        ? await this.#filterEndedRuns(doubtful)
        : await this.filterGone(doubtful.map(({ name }) => name));
    if (isBlind && !isFirst) gone.push(...(await this.#audit([...recorded.keys()])));
    await store.remove(gone);
    for (const name of gone) recorded.delete(name);
    const strangers = listed
      .filter(({ name }) => !recorded.has(name))
      .map(({ name, login }) => ({ name, login, user: undefined }));
    const known = [...recorded.values()].map(({ name, login, user, keepsToken }) => ({
      name,
      // Where only its channel was heard of, the journal takes it to be honest.
      login: logins.get(name) ?? login,
      user,
      keepsToken,
    }));
    return [...known, ...strangers];
  }

  /** @returns whether the journal tells of all that are open, and of all that went while their node ran. */
  async #catchUp(isBlind: boolean): Promise<boolean> {
    const { journal, store } = this.#options;
    const isCurrent = await journal.caughtUp(isBlind ? CATCH_UP_MS.needed : CATCH_UP_MS.useful);
    const isExact = isCurrent && (await store.isWhole());
    if (isBlind && !isExact) await this.#askByLogin(isCurrent);
    return isExact;
  }

  /** Those of these that are not open. */
  async filterGone(names: string[]): Promise<string[]> {
    const { management } = this.#options;
    const found = await Promise.all(
      names.map((name) =>
        this.#limit(async () => ((await management.hasConnection(name)) ? [] : [name])),
      ),
    );
    return found.flat();
  }

  /**
   * Those of these that are not open, where all ends were told of that a node could tell of: as soon as one is
   * open, its node is still running, and the others are open, too. So tens of thousands need not be asked for.
   */
  async #filterEndedRuns(connections: RecordedConnection[]): Promise<string[]> {
    const runs = new Map<string | undefined, string[]>();
    for (const { name, run } of connections) {
      const names = runs.get(run);
      if (names === undefined) runs.set(run, [name]);
      else names.push(name);
    }
    const gone: string[] = [];
    for (const [run, names] of runs) {
      for (let start = 0; start < names.length; start += AT_ONCE) {
        const some = names.slice(start, start + AT_ONCE);
        const ended = await this.filterGone(some);
        gone.push(...ended);
        if (run !== undefined && ended.length < some.length) break;
      }
    }
    return gone;
  }

  /** Asks for the next few of them, so that no end that was not told of is overlooked for ever. */
  async #audit(names: string[]): Promise<string[]> {
    if (this.#audited >= names.length) this.#audited = 0;
    const some = names.slice(this.#audited, this.#audited + AUDIT);
    this.#audited += AUDIT;
    return this.filterGone(some);
  }

  /**
   * Each device whose token has not ended may be connected. The broker goes through all its connections for
   * each of them, so that this is for a journal that has only begun, or is not to be had.
   * @param isCurrent whether the journal has all that has happened since.
   */
  async #askByLogin(isCurrent: boolean): Promise<void> {
    const { management, devices, store } = this.#options;
    for (let after = 0; ;) {
      const page = await devices.listWithToken(after, PAGE);
      const found = await Promise.all(
        page.map(({ queue }) =>
          this.#limit(async () => {
            const names = await management.connectionsOf(queue);
            return names.map((name) => ({
              name,
              login: queue,
              user: undefined,
              run: undefined,
              keepsToken: false,
            }));
          }),
        ),
      );
      await store.add(found.flat());
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) break;
      after = last.id;
    }
    if (isCurrent) await store.setWhole(true);
  }
}
