import { expect, it, onTestFinished } from 'vitest';
import { ConfirmChannel } from '../../server/dist/publisher/confirm-channel.js';

const MIB = 1024 * 1024;
const body = Buffer.alloc(MIB);
const message = {
  exchange: 'warren.direct',
  routingKey: 'user.ann',
  messageId: 'm',
  type: 'note',
  contentType: 'application/json',
  durable: true,
  mandatory: true,
} as const;

it('while the broker is away no more than 256 MiB wait for it, however few messages that is', async () => {
  const channel = new ConfirmChannel({
    amqpUrl: 'amqp://127.0.0.1:1/warren',
    connectionName: 'a test',
    maxInFlight: 1000,
    maxWaiting: 10_000,
    timeoutMs: 500,
    heartbeatSeconds: 10,
    onError: () => undefined,
  });
  onTestFinished(() => channel.close(0));
  const send = () => channel.publish(message, body).then(String, (error: unknown) => error);
  for (let round = 0; round < 2; round++) {
    const sends = Array.from({ length: 300 }, send);
    expect(channel.pending).toBe(256);
    const errors = await Promise.all(sends);
    const refused = errors.filter((error) => String(error).includes(`${String(256 * MIB)} bytes`));
    expect(refused).toHaveLength(44);
    for (const error of errors) expect(error).toMatchObject({ code: 'broker_unavailable' });
    // Whatever has ended makes room.
    expect(channel.pending).toBe(0);
  }
});
