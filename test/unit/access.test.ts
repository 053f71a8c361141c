import type { Request } from 'express';
import { describe, expect, it } from 'vitest';
import { AccessControl, type AccessOptions } from '../../server/dist/http/access.js';

describe('authenticate', () => {
  /** Asks as whoever the application's function says. */
  function ask(answer: unknown) {
    const access = new AccessControl({
      serviceKeys: () => [],
      adminKeys: () => [],
      adminTokens: { verify: () => undefined } as unknown as AccessOptions['adminTokens'],
      ownTokens: { verify: () => undefined },
      authenticate: () => answer as null,
      refuseRevoked: () => Promise.resolve(),
    });
    const request = { headers: {}, get: () => undefined } as unknown as Request;
    return access.check('user', request);
  }

  it.each([[null], [undefined]])('that gives %s lets nobody in', async (answer) => {
    await expect(ask(answer)).rejects.toMatchObject({ code: 'token_invalid' });
  });

  it.each([
    ['a number', 42],
    ['an object without a user', { id: 'alice' }],
    ['an object with a number for a user', { userId: 42, issuedAt: 0 }],
  ])('that gives %s is told what it must give', async (_, answer) => {
    await expect(ask(answer)).rejects.toThrow(/authenticate must give a string/);
  });

  it.each([
    ['no number', { userId: 'alice', issuedAt: NaN }],
    ['missing', { userId: 'alice' }],
    ['in nanoseconds', { userId: 'alice', issuedAt: Date.now() * 1e6 }],
  ])('whose issuedAt is %s lets nobody past a revocation', async (_, answer) => {
    await expect(ask(answer)).rejects.toThrow(/issuedAt/);
  });

  it('may give a user id, or with it when that was vouched for', async () => {
    expect(await ask('alice')).toMatchObject({ identity: { userId: 'alice' } });
    const identity = { userId: 'alice', issuedAt: Date.now() };
    expect(await ask(identity)).toMatchObject({ identity });
  });
});
