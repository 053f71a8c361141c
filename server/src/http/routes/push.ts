import { pushDeviceBodySchema, pushDeviceSchema, pushDevicesReplySchema } from '@warren/protocol';
import { HttpProblem } from '../../problem.js';
import { route, userOf, type Route } from '../route.js';
import { idIn, type Services } from './services.js';

/** By what a user's devices are reached when they are not connected. */
export function pushRoutes({ registrations }: Services): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/me/push-devices',
      access: 'user',
      summary:
        'Which devices get pushes, what they want, and the key that browsers subscribe with.',
      replies: { 200: { description: 'Without tokens.', schema: pushDevicesReplySchema } },
      problems: ['database_unavailable'],
      handle: async (context) => ({
        status: 200,
        body: await registrations.list(userOf(context)),
      }),
    }),
    route({
      method: 'put',
      path: '/v1/me/push-devices/{id}',
      access: 'user',
      summary:
        'Have pushes sent to a device. Replaces what it was registered with; whoever had the same ' +
        'token before has it no more.',
      body: pushDeviceBodySchema,
      replies: { 200: { description: 'It is registered.', schema: pushDeviceSchema } },
      problems: ['invalid_id', 'push_not_configured', 'too_many_devices', 'database_unavailable'],
      handle: async (context) => {
        const { identity, body } = context;
        if (identity === undefined) throw new HttpProblem('token_invalid');
        return { status: 200, body: await registrations.put(identity, idIn(context), body) };
      },
    }),
    route({
      method: 'delete',
      path: '/v1/me/push-devices/{id}',
      access: 'user',
      summary: 'Send no more pushes to a device.',
      replies: { 204: { description: 'It gets none.' } },
      problems: ['invalid_id', 'database_unavailable'],
      handle: async (context) => {
        await registrations.remove(userOf(context), idIn(context));
        return { status: 204 };
      },
    }),
  ];
}
