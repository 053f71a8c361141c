import type { PushDeviceBody, PushDevicesReply, PushDeviceState } from '@warren/protocol';
import { HttpProblem } from '../problem.js';
import type { Cutoffs } from '../sessions/cutoffs.js';
import type { Identity } from '../sessions/identity.js';
import type { DeviceStore } from '../storage/devices.js';
import type { Locks } from '../storage/locks.js';
import type { PushDevice, PushDeviceStore } from '../storage/push-devices.js';
import type { PushProviders } from './providers/index.js';

export interface RegistrationsOptions {
  store: PushDeviceStore;
  devices: DeviceStore;
  locks: Locks;
  cutoffs: Cutoffs;
  providers: PushProviders;
  /** How many a user may have. */
  maxDevices: number;
}

/** By what users' devices are reached by push. */
export class Registrations {
  readonly #options: RegistrationsOptions;

  constructor(options: RegistrationsOptions) {
    this.#options = options;
  }

  /**
   * Replaces the device's registration, and takes a token that its provider gives out from whoever had it before.
   * @throws {HttpProblem} `push_not_configured`, `invalid_request`, `too_many_devices`, `token_revoked`
   */
  async put(identity: Identity, deviceId: string, body: PushDeviceBody): Promise<PushDeviceState> {
    const { store, devices, locks, cutoffs, providers, maxDevices } = this.#options;
    const { userId } = identity;
    const { provider, language, preferences } = body;
    const token = 'token' in body ? body.token : JSON.stringify(body.subscription);
    const problem = (providers[provider] ?? refuse(provider)).check(token);
    if (problem !== undefined) throw new HttpProblem('invalid_request', problem);
    const device = {
      userId,
      deviceId,
      provider,
      token,
      language,
      preferences,
      updatedAt: Date.now(),
    };
    await locks.user(userId, async () => {
      // Whoever is being cut off must not come in behind that.
      const known = await devices.find(userId, deviceId);
      await cutoffs.admit({ identity, deviceId, sessionId: undefined, device: known });
      const others = (await store.listOf(userId)).filter((other) => other.deviceId !== deviceId);
      if (others.length >= maxDevices) throw new HttpProblem('too_many_devices');
      await store.put(device);
    });
    return toState(device);
  }

  async list(userId: string): Promise<PushDevicesReply> {
    const { store, providers } = this.#options;
    const vapidPublicKey = providers.webpush?.publicKey;
    return {
      devices: (await store.listOf(userId)).map(toState),
      ...(vapidPublicKey !== undefined && { vapidPublicKey }),
    };
  }

  /** Idempotent. */
  async remove(userId: string, deviceId: string): Promise<void> {
    const { store, locks } = this.#options;
    await locks.user(userId, () => store.remove(userId, deviceId));
  }
}

function refuse(provider: string): never {
  throw new HttpProblem('push_not_configured', `${provider} is not configured on this server.`);
}

const toState = (device: PushDevice): PushDeviceState => ({
  id: device.deviceId,
  provider: device.provider,
  ...(device.language !== undefined && { language: device.language }),
  preferences: device.preferences,
  updatedAt: new Date(device.updatedAt).toISOString(),
});
