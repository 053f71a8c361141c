import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { PushBed } from '../support/push-bed.js';
import { request, startStack, uniqueUser, userToken, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/* What a user has the server keep: in its memory, by not reading; in its database, by names that never were. */

describe('answers that nobody reads', () => {
  let bed: PushBed;
  beforeAll(async () => {
    bed = await PushBed.start({ extras: { timing: { stalledMs: 3000 } } });
  });
  afterAll(() => bed.close());

  const path = '/v1/me/push-devices';
  const get = (user: string) => request(`${bed.stack.apiUrl}${path}`, 'GET', userToken(user));

  /** As much as a user may have stored of its devices: some 12 MB. */
  async function withLongAnswers(): Promise<string> {
    const user = uniqueUser();
    const mutedGroups = Array.from({ length: 1000 }, (_, index) => String(index).padEnd(250, 'x'));
    for (let index = 0; index < 50; index++) {
      const device = `${path}/${String(index)}`;
      const body = { provider: 'webhook', token: String(index), preferences: { mutedGroups } };
      const { status } = await request(
        `${bed.stack.apiUrl}${device}`,
        'PUT',
        userToken(user),
        body,
      );
      expect(status).toBe(200);
    }
    return user;
  }

  /** A client that asks, and does not read. */
  async function ask(user: string): Promise<Socket> {
    const { hostname, port } = new URL(bed.stack.apiUrl);
    const socket = connect(Number(port), hostname);
    socket.pause();
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write(
      `GET ${path} HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: Bearer ${userToken(user)}\r\n\r\n`,
    );
    return socket;
  }

  /** Asks until that is refused, which it is not while the answer before is being read. */
  async function hoard(user: string): Promise<Socket[]> {
    const sockets: Socket[] = [];
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
    });
    await until(async () => {
      const { status, headers } = await get(user);
      if (status !== 429) sockets.push(await ask(user));
      else expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
      return status === 429;
    });
    return sockets;
  }

  it('are not made again and again: their user has to read first, and others need not', async () => {
    const user = await withLongAnswers();
    const sockets = await hoard(user);
    expect((await get(uniqueUser())).status).toBe(200);
    // What changes something is done all the same.
    const url = `${bed.stack.apiUrl}/v1/sessions`;
    const session = await request(url, 'POST', userToken(user), { deviceId: 'phone' });
    expect(session.status).toBe(201);
    for (const socket of sockets) socket.destroy();
    await until(async () => (await get(user)).status === 200);
  });

  it('are given up after a while, with the connection', async () => {
    const user = await withLongAnswers();
    await hoard(user);
    await until(async () => (await get(user)).status === 200);
  });
});

describe('logouts', () => {
  const MANY = 220;
  let stack: Stack;
  beforeAll(async () => {
    stack = await startStack();
  });
  afterAll(() => stack.close());

  const open = (user: string, body: object) =>
    request(`${stack.apiUrl}/v1/sessions`, 'POST', userToken(user), body);
  const logOut = (user: string, device: string) =>
    request(
      `${stack.apiUrl}/v1/sessions/${device}?installationId=of-before`,
      'DELETE',
      userToken(user),
    );

  it('of devices that never were are forgotten, the oldest first, and no revocation with them', async () => {
    const user = uniqueUser();
    await stack.session(user, { deviceId: 'stolen' });
    const token = userToken(user);
    await stack.api('POST', `/v1/users/${user}/revoke`, { deviceId: 'stolen' });
    for (let index = 0; index < MANY; index++) {
      expect((await logOut(user, `d${String(index)}`)).status).toBe(204);
    }
    const codeOf = async (device: string) =>
      (await open(user, { deviceId: device, installationId: 'of-before' })).body.code;
    expect(await codeOf(`d${String(MANY - 1)}`)).toBe('session_ended');
    expect(await codeOf('d0')).toBeUndefined();
    const old = await request(`${stack.apiUrl}/v1/sessions`, 'POST', token, { deviceId: 'stolen' });
    expect(old.body.code).toBe('token_revoked');
  });
});
