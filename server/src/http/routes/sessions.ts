import type { Request } from 'express';
import {
  logoutQuerySchema,
  ownDevicesSchema,
  sessionBodySchema,
  sessionGrantSchema,
} from '@warren/protocol';
import { HttpProblem } from '../../problem.js';
import { route, userOf, type Route } from '../route.js';
import { idIn, type Services } from './services.js';

export function sessionRoutes({ sessions, users, metrics }: Services): Route[] {
  const logout = route({
    method: 'delete',
    path: '/v1/sessions/{deviceId}',
    access: 'user',
    summary: 'Log a device out: its queues go with what waits in them, its connection is closed.',
    query: logoutQuerySchema,
    replies: { 204: { description: 'Nothing of the device is left.' } },
    problems: ['invalid_id', 'broker_unavailable'],
    handle: async (context) => {
      const { installationId } = context.query;
      await users.removeDevice(userOf(context), idIn(context, 'deviceId'), installationId);
      return { status: 204 };
    },
  });
  const open = route({
    method: 'post',
    path: '/v1/sessions',
    access: 'user',
    summary: "Open a session on a device's queues, or renew the one that is named.",
    body: sessionBodySchema,
    replies: { 201: { description: 'The session grant.', schema: sessionGrantSchema } },
    problems: [
      'invalid_id',
      'session_ended',
      'session_replaced',
      'too_many_devices',
      'broker_unavailable',
      'overloaded',
    ],
    handle: async ({ identity, body, request }) => {
      if (identity === undefined) throw new HttpProblem('token_invalid');
      const { grant, kind } = await whileAwaited(request, (signal) =>
        sessions.open(identity, body, signal),
      );
      metrics.sessions.inc({ kind });
      return { status: 201, body: grant };
    },
  });
  const list = route({
    method: 'get',
    path: '/v1/me/devices',
    access: 'user',
    summary: 'The devices of the user. DELETE /v1/sessions/{deviceId} logs one out.',
    replies: { 200: { description: 'All of them.', schema: ownDevicesSchema } },
    problems: ['broker_unavailable'],
    handle: async (context) => ({
      status: 200,
      body: { devices: await users.devicesOf(userOf(context)) },
    }),
  });
  return [open, logout, list];
}

/** The signal is aborted when the client has gone, so that nothing more is done for nobody. */
async function whileAwaited<Result>(
  { socket }: Request,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const gone = new AbortController();
  const abort = (): void => {
    gone.abort(new HttpProblem('overloaded'));
  };
  if (socket.destroyed) abort();
  socket.once('close', abort);
  try {
    return await work(gone.signal);
  } finally {
    socket.off('close', abort);
  }
}
