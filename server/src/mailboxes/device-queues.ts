import { randomBytes } from 'node:crypto';
import { deviceKeys, deviceQueues, userKeys, type NamePrefixes } from '@warren/protocol';
import { BROADCAST, liveOf, shardFor } from '@warren/rabbitmq';
import type { QueueSpec } from '../broker/provisioner.js';
import { inboxOf, UNCLAIMED, type Device, type NewQueues } from '../storage/devices.js';
import type { MailboxType } from '../storage/schema.js';

/** In the name of a mailbox that waits for a first device; no encoded id looks so. */
const UNCLAIMED_NAME = '_unclaimed';

/** 128 bits that nobody can guess. */
export const randomName = (): string => randomBytes(16).toString('hex');

/** Names that no queue has had before. @param type of the mailbox. */
export function newQueues(
  userId: string,
  deviceId: string,
  type: MailboxType,
  prefixes: NamePrefixes,
): NewQueues {
  if (deviceId !== UNCLAIMED) {
    return { ...deviceQueues(userId, deviceId, randomName(), prefixes), type };
  }
  const { mail, live } = userKeys(userId, prefixes);
  const rest = `${UNCLAIMED_NAME}.${randomName()}`;
  return { mail: `${mail}.${rest}`, type, live: `${live}.${rest}` };
}

/** The mailbox that new mail goes to, and what leads there. */
export function inboxSpec(device: Device, prefixes: NamePrefixes): QueueSpec {
  const queue = inboxOf(device);
  return {
    queue,
    type: device.next_type ?? device.mailbox_type,
    keys: [queue, ...sharedKeys(device, 'mail', prefixes)],
    fanout: shardFor(BROADCAST, queue),
  };
}

/** The live queue, and what leads there. Always a classic one: nothing in it is to last. */
export function liveSpec(device: Device, prefixes: NamePrefixes): QueueSpec {
  const queue = device.live_queue;
  return {
    queue,
    type: 'classic',
    keys: [queue, ...sharedKeys(device, 'live', prefixes)],
    fanout: shardFor(liveOf(BROADCAST), queue),
  };
}

/** The keys of all devices of the user, and of this one whatever its queues are called. */
export function sharedKeys(
  { user_id: userId, device_id: deviceId }: Device,
  kind: 'mail' | 'live',
  prefixes: NamePrefixes,
): string[] {
  const user = userKeys(userId, prefixes)[kind];
  return deviceId === UNCLAIMED ? [user] : [user, deviceKeys(userId, deviceId, prefixes)[kind]];
}
