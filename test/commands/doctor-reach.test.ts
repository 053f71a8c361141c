import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { Broker } from '@warren/rabbitmq';
import { createBroker } from '../support/broker.js';
import { makeCertificates, type Certificates } from '../support/certificates.js';
import { Program } from '../support/program.js';

let certificates: Certificates;
let secure: Broker;
let remove: () => Promise<void>;
beforeAll(async () => {
  certificates = await makeCertificates();
  ({ broker: secure, remove } = await createBroker({ tls: certificates.files }));
  await secure.start();
});
afterAll(async () => {
  await remove();
  await certificates.remove();
});

async function doctor(environment: Record<string, string>, ...args: string[]) {
  const program = new Program(
    process.execPath,
    ['server/bin/warren.js', 'doctor', '--json', ...args],
    environment,
  );
  await program.exited;
  return program.output;
}

/** The variables of a broker, with the address for AMQP changed. */
function variablesOf(change: (url: URL) => void): Record<string, string> {
  const { endpoints, signingKey } = inject('broker');
  const amqpUrl = new URL(endpoints.amqpUrl);
  change(amqpUrl);
  return {
    WARREN_AMQP_URL: amqpUrl.href,
    WARREN_MANAGEMENT_URL: endpoints.managementUrl,
    WARREN_PUBLIC_STOMP_URL: endpoints.stompUrl,
    WARREN_SIGNING_KEY: signingKey,
  };
}

describe('warren doctor, where it cannot get in', () => {
  it('tells a certificate that is not trusted from a broker that is away', async () => {
    const { amqpUrl, managementUrl, stompUrl } = secure.endpoints;
    const variables = {
      WARREN_AMQP_URL: amqpUrl,
      WARREN_MANAGEMENT_URL: managementUrl,
      WARREN_PUBLIC_STOMP_URL: stompUrl,
      WARREN_SIGNING_KEY: secure.signingKey.privateKey,
    };
    const strange = await doctor(variables);
    for (const url of [amqpUrl, managementUrl, stompUrl]) {
      expect(strange).toContain(`The certificate of ${new URL(url).host} is not trusted`);
    }
    expect(strange).toContain('NODE_EXTRA_CA_CERTS');
    expect(strange).not.toContain('did not answer');
    expect(strange).not.toContain('Enable rabbitmq_');
    const known = await doctor({ ...variables, NODE_EXTRA_CA_CERTS: certificates.files.ca });
    expect(known).toContain('logs in by AMQP');
    expect(known).not.toContain('not trusted');
  });

  it.each([
    [
      'another password',
      (url: URL) => (url.password = 'x'),
      /does not let warren-server in by AMQP/,
    ],
    [
      'an unknown account',
      (url: URL) => (url.username = 'nobody'),
      /does not let nobody in by AMQP/,
    ],
    ['no such vhost', (url: URL) => (url.pathname = '/nowhere'), /There is no vhost nowhere/],
    ['another vhost’s permissions', (url: URL) => (url.pathname = '/%2F'), /in \/ than it needs/],
    ['nothing that listens', (url: URL) => (url.port = '9'), /Nothing speaks AMQP at 127.0.0.1:9/],
  ])('names %s', async (_what, change, text) => {
    const output = await doctor(variablesOf(change));
    expect(output).toMatch(text);
    expect(output).not.toContain('Enable rabbitmq_auth_backend_oauth2');
  });

  it('says when RabbitMQ’s metrics are not where they should be', async () => {
    const { metricsUrl, managementUrl } = inject('broker').endpoints;
    const environment = variablesOf(() => undefined);
    const { origin } = new URL(metricsUrl);
    const bare = await doctor({ ...environment, WARREN_BROKER_METRICS_URL: origin });
    expect(bare).toContain('may open');
    expect(bare).not.toContain('metrics are not at');
    const { host } = new URL(managementUrl);
    for (const address of ['http://127.0.0.1:9', `http://${host}/nothing`]) {
      const output = await doctor({ ...environment, WARREN_BROKER_METRICS_URL: address });
      expect(output).toContain(`metrics are not at ${new URL(address).host}`);
    }
  });

  it('has the other commands tell a certificate that is not trusted, too', async () => {
    const { amqpUrl, managementUrl } = secure.endpoints;
    const dir = await mkdtemp(join(tmpdir(), 'warren-doctor-'));
    const key = join(dir, 'signing.pem');
    await writeFile(key, secure.signingKey.privateKey);
    for (const args of [['keys', 'check', key], ['provision'], ['send', 'a', 'b']]) {
      const program = new Program(process.execPath, ['server/bin/warren.js', ...args], {
        WARREN_AMQP_URL: amqpUrl,
        WARREN_MANAGEMENT_URL: managementUrl,
      });
      expect(await program.exited).toBe(1);
      expect(program.output).toMatch(/is not trusted.*\n.*NODE_EXTRA_CA_CERTS/);
    }
    await rm(dir, { recursive: true, force: true });
  });

  it('says why the management API refuses', async () => {
    const { managementUrl, backendAmqpUrl } = inject('broker').endpoints;
    const other = new URL(managementUrl);
    other.password = 'wrong';
    const wrong = await doctor({
      ...variablesOf(() => undefined),
      WARREN_MANAGEMENT_URL: other.href,
    });
    expect(wrong).toMatch(/does not let the account of WARREN_MANAGEMENT_URL in \(.+\)/);
    ({ username: other.username, password: other.password } = new URL(backendAmqpUrl));
    const weak = await doctor({
      ...variablesOf(() => undefined),
      WARREN_MANAGEMENT_URL: other.href,
    });
    expect(weak).toMatch(/set_user_tags warren-server administrator/);
  });

  it('looks at the broker of a data directory, and says when nothing runs there', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'warren-doctor-'));
    expect(await doctor({ WARREN_AMQP_URL: '' }, '--data-dir', dir)).toContain('Nothing runs on');
    const { backendAmqpUrl: amqpUrl, managementUrl, stompUrl } = inject('broker').endpoints;
    const info = JSON.stringify({ amqpUrl, managementUrl, stompUrl });
    await writeFile(join(dir, 'dev.json'), info);
    const output = await doctor({ WARREN_AMQP_URL: '' }, '--data-dir', dir);
    expect(output).toContain('The account warren-server logs in by AMQP');
    await rm(dir, { recursive: true, force: true });
  });
});
