import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import type { SessionGrant, TimelineEntry } from '@warren/protocol';
import { Proxy, via } from '../support/proxy.js';
import { request, startStack, uniqueUser, userToken, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

const DEVICES = 100;

let proxy: Proxy;
let stack: Stack;
beforeAll(async () => {
  const { endpoints, ports } = inject('broker');
  proxy = await Proxy.to(ports.amqp);
  stack = await startStack({
    endpoints: { ...endpoints, amqpUrl: via(endpoints.amqpUrl, proxy) },
    config: { maxDevices: DEVICES },
  });
});
afterAll(async () => {
  await stack.close();
  await proxy.close();
});

const open = (user: string, deviceId: string) =>
  request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(user), { deviceId });

const isReady = async () => (await fetch(`${stack.apiUrl}/health/ready`)).ok;

it('a first session that was broken off is no loss', async () => {
  await until(isReady);
  const user = uniqueUser();
  proxy.silence();
  expect((await open(user, 'phone')).status).toBe(503);
  proxy.open();
  proxy.cut();
  let grant: SessionGrant | undefined;
  await until(async () => {
    const { status, body } = await open(user, 'phone');
    if (status === 201) grant = body as unknown as SessionGrant;
    return status === 201;
  });
  expect(grant).toMatchObject({ resumed: false });
  expect(grant).not.toHaveProperty('missed');
  const path = `/v1/users/${user}/timeline`;
  let kinds: string[] = [];
  await until(async () => {
    const { entries } = (await stack.api('GET', path)).body as unknown as {
      entries: TimelineEntry[];
    };
    kinds = entries.map(({ kind }) => kind);
    return kinds.includes('session');
  });
  expect(kinds).not.toContain('mailbox_lost');
});

it('many are revoked at once also where the broker is far away', async () => {
  await until(isReady);
  const user = uniqueUser();
  const devices = Array.from({ length: DEVICES }, (_, index) => `d${String(index)}`);
  for (let start = 0; start < DEVICES; start += 20) {
    const some = { devices: devices.slice(start, start + 20) };
    expect((await stack.api('PUT', `/v1/users/${user}`, some)).status).toBe(200);
  }
  proxy.delay(60);
  const revoked = await Promise.all(
    devices.map((deviceId) => stack.api('POST', `/v1/users/${user}/revoke`, { deviceId })),
  );
  proxy.delay(0);
  expect(new Set(revoked.map(({ status }) => status))).toEqual(new Set([204]));
});
