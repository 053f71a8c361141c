import { resolve } from 'node:path';
import { sql } from 'kysely';
import { AuditStore } from './audit.js';
import { ConnectionStore } from './connections.js';
import { ConsoleStore } from './consoles.js';
import { CutoffStore } from './cutoffs.js';
import { closeDatabase, openDatabase, type StorageOptions } from './database.js';
import { DeadLetterStore } from './dead-letters.js';
import { DeviceStore } from './devices.js';
import { Directory } from './directory.js';
import { ExpiredDeviceStore } from './expired-devices.js';
import { GroupStore } from './groups.js';
import { HistoryErasure } from './history-erasure.js';
import { HistoryStore } from './history.js';
import { Locks } from './locks.js';
import { MailboxStore } from './mailboxes.js';
import { MessageStore } from './messages.js';
import { OutboxStore } from './outbox.js';
import { OutcomeStore } from './outcomes.js';
import { PresenceStore } from './presence.js';
import { PushDecisionStore } from './push-decisions.js';
import { PushDeviceStore } from './push-devices.js';
import { PushStore } from './pushes.js';
import { TimelineStore } from './timeline.js';
import { UserTrail } from './user-trail.js';

/** All that Warren remembers. */
export interface Storage {
  devices: DeviceStore;
  expiredDevices: ExpiredDeviceStore;
  mailboxes: MailboxStore;
  connections: ConnectionStore;
  cutoffs: CutoffStore;
  groups: GroupStore;
  history: HistoryStore;
  historyErasure: HistoryErasure;
  messages: MessageStore;
  outcomes: OutcomeStore;
  presence: PresenceStore;
  pushDevices: PushDeviceStore;
  pushDecisions: PushDecisionStore;
  pushes: PushStore;
  outbox: OutboxStore;
  audit: AuditStore;
  consoles: ConsoleStore;
  deadLetters: DeadLetterStore;
  directory: Directory;
  timeline: TimelineStore;
  userTrail: UserTrail;
  locks: Locks;
  /** Where the database is: the file's path, or host and name; without credentials. */
  identity: string;
  /** Whether the database takes what is written. */
  isUp: () => Promise<boolean>;
  close: () => Promise<void>;
}

/** @throws when the database cannot be reached or opened, or a migration fails. */
export async function openStorage(
  options: StorageOptions,
  onError: (error: Error) => void,
): Promise<Storage> {
  const database = await openDatabase(options, onError);
  const outbox = new OutboxStore(database);
  const locks = new Locks(options.url, onError);
  return {
    devices: new DeviceStore(database),
    expiredDevices: new ExpiredDeviceStore(database),
    mailboxes: new MailboxStore(database),
    connections: new ConnectionStore(database),
    cutoffs: new CutoffStore(database),
    groups: new GroupStore(database),
    history: new HistoryStore(database),
    historyErasure: new HistoryErasure(database),
    messages: new MessageStore(database, outbox),
    outcomes: new OutcomeStore(database, outbox),
    presence: new PresenceStore(database, outbox),
    pushDevices: new PushDeviceStore(database),
    pushDecisions: new PushDecisionStore(database, outbox),
    pushes: new PushStore(database, outbox),
    outbox,
    audit: new AuditStore(database),
    consoles: new ConsoleStore(database),
    deadLetters: new DeadLetterStore(database),
    directory: new Directory(database),
    timeline: new TimelineStore(database),
    userTrail: new UserTrail(database),
    locks,
    identity: identityOf(options),
    // Changes nothing, but asks for what a change needs: a file may be locked, a server a replica that only reads.
    isUp: async () =>
      sql`update devices set id = id where 1 = 0`.execute(database).then(
        () => true,
        () => false,
      ),
    close: async () => {
      await Promise.all([closeDatabase(database), locks.close()]);
    },
  };
}

function identityOf({ dataDir, url }: StorageOptions): string {
  if (url === undefined) return resolve(dataDir);
  const { host, pathname } = new URL(url);
  return host + pathname;
}
