import { sql } from 'kysely';
import { AuditStore } from './audit.js';
import { ConsoleStore } from './consoles.js';
import { CutoffStore } from './cutoffs.js';
import { closeDatabase, openDatabase, type StorageOptions } from './database.js';
import { DeadLetterStore } from './dead-letters.js';
import { DeviceStore } from './devices.js';
import { Directory } from './directory.js';
import { GroupStore } from './groups.js';
import { HistoryErasure } from './history-erasure.js';
import { HistoryStore } from './history.js';
import { Locks } from './locks.js';
import { MessageStore } from './messages.js';
import { OutboxStore } from './outbox.js';
import { OutcomeStore } from './outcomes.js';
import { PresenceStore } from './presence.js';
import { PushDecisionStore } from './push-decisions.js';
import { PushDeviceStore } from './push-devices.js';
import { PushStore } from './pushes.js';
import { TimelineStore } from './timeline.js';

/** All that Warren remembers. */
export interface Storage {
  devices: DeviceStore;
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
  locks: Locks;
  /** Whether the database answers. */
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
    locks,
    isUp: async () =>
      sql`select 1`.execute(database).then(
        () => true,
        () => false,
      ),
    close: async () => {
      await Promise.all([closeDatabase(database), locks.close()]);
    },
  };
}
