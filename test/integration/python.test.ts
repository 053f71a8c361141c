import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { collect, startStack, TRANSPORTS, uniqueUser, type Stack } from '../support/stack.js';

/**
 * A back end in Python with Debian's python3-pika: sends by warren.send to a group, and reads from its own
 * events queue what became of it for each member.
 */
const BACKEND = `
import json, pika, sys
url, group, message_id, expected = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
parameters = pika.URLParameters(url)
account = parameters.credentials.username
connection = pika.BlockingConnection(parameters)
channel = connection.channel()
queue = "warren.events." + account
channel.queue_declare(queue, exclusive=True)
channel.queue_bind(queue, "warren.events", "message.#")
channel.basic_publish(
    "warren.send", "",
    json.dumps({"to": {"group": group}, "type": "note", "data": "by pika", "track": True}),
    pika.BasicProperties(message_id=message_id, delivery_mode=2, user_id=account))
outcomes = {}
for _, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=20):
    if body is None:
        break
    event = json.loads(body)
    if event["messageId"] == message_id:
        outcomes[event["user"]] = event["outcome"]
    if len(outcomes) == expected:
        break
connection.close()
print(json.dumps(outcomes))
`;

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack.close());

it('a back end in Python sends to a group by AMQP alone, and reads what became of it', async () => {
  const [reader, failing] = [uniqueUser(), uniqueUser()];
  const group = `python-${reader}`;
  await stack.api('POST', `/v1/groups/${group}/members`, { add: [reader, failing, 'nobody'] });
  const client = stack.client(reader, TRANSPORTS.stomp());
  const got = collect(client);
  const broken = stack.client(failing, TRANSPORTS.amqp(), { handlerAttempts: 1 });
  broken.handle('note', () => Promise.reject(new Error('a bug')));
  for (const each of [client, broken]) each.start();
  await Promise.all([client.ready(), broken.ready()]);
  const { stdout } = await promisify(execFile)('/usr/bin/python3', [
    '-c',
    BACKEND,
    inject('broker').endpoints.backendAmqpUrl,
    group,
    `python-${reader}`,
    '3',
  ]);
  expect(JSON.parse(stdout)).toEqual({
    [reader]: 'delivered',
    [failing]: 'rejected',
    nobody: 'unprovisioned',
  });
  expect(got.map(({ data }) => data)).toEqual(['by pika']);
});
