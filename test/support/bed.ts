import { onTestFinished } from 'vitest';
import { getClient, type ClientOptions, type StateChange, type WarrenError } from '@warren/client';
import { settle, TestBed, type TestBedOptions } from '@warren/client/testing';

/** A client on a fake app, broker, server and clock, stopped with the test. */
export function setupBed(options: Partial<ClientOptions> = {}, bedOptions: TestBedOptions = {}) {
  const bed = new TestBed(bedOptions);
  const { clock, broker, app } = bed;
  const { platform, ...more } = options;
  const client = getClient({
    ...bed.options,
    ...more,
    platform: { ...bed.options.platform, ...platform },
  });
  const changes: StateChange[] = [];
  const errors: WarrenError[] = [];
  client.on('state', (change) => changes.push(change));
  client.on('error', ({ error }) => errors.push(error));
  onTestFinished(async () => {
    void client.stop();
    await clock.advance(10_000);
  });
  const connect = async () => {
    client.start();
    await settle();
    return broker.connection;
  };
  /** How messages ended, in that order. */
  const ended: string[] = [];
  const deliver = (id: string, data: unknown, more: { live?: boolean; type?: string } = {}) => {
    const delivery = more.live === true ? 'live' : 'queued';
    void bed.deliver(more.type ?? 'note', data, { id, delivery }).then((outcome) => {
      ended.push(`${outcome} ${id}`);
    });
  };
  const state = () => {
    const { state: name, reason } = client.getSnapshot();
    return reason === undefined ? name : `${name}: ${reason.code}`;
  };
  return { client, bed, clock, broker, app, changes, errors, connect, deliver, ended, state };
}
