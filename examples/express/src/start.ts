// What an operator does, for trying things out: starts a private RabbitMQ and says in WARREN_… where it is.
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { join, resolve } from 'node:path';
import { Broker } from '@warren/rabbitmq';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '3000' },
    'data-dir': { type: 'string', default: '.warren' },
  },
});
const dataDir = resolve(values['data-dir']);
const broker = new Broker({ dataDir: join(dataDir, 'broker') });
process.stdout.write('  Starting RabbitMQ (about 5 seconds) …\n');
await broker.start();
const { amqpUrl, clientAmqpUrl, managementUrl, metricsUrl, stompUrl } = broker.endpoints;
Object.assign(process.env, {
  PORT: values.port,
  WARREN_AMQP_URL: amqpUrl,
  WARREN_MANAGEMENT_URL: managementUrl,
  WARREN_BROKER_METRICS_URL: metricsUrl,
  WARREN_PUBLIC_STOMP_URL: stompUrl,
  WARREN_PUBLIC_AMQP_URL: clientAmqpUrl,
  WARREN_SIGNING_KEY: broker.signingKey.privateKey,
  WARREN_SERVICE_KEYS: randomBytes(24).toString('base64url'),
  WARREN_DATA_DIR: dataDir,
});
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => void broker.stop().then(() => process.exit()));
await import('./app.js');
process.stdout.write(`
  The list is ready: http://127.0.0.1:${values.port}/
  Log in as anna or ben; the password is the name.
  Ctrl-C stops everything.
`);
