import { inject } from 'vitest';

/** Limits for the mailboxes of one user, as an operator would set them; in force a moment later. */
export async function limitMailboxes(
  user: string,
  definition: Record<string, string | number>,
): Promise<{ remove: () => Promise<void> }> {
  const { managementUrl } = inject('broker').endpoints;
  const { origin, username, password } = new URL(managementUrl);
  const headers = {
    authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
    'content-type': 'application/json',
  };
  const url = `${origin}/api/policies/warren/limits-${user}`;
  const body = JSON.stringify({
    pattern: `^user\\.${user}\\.`,
    'apply-to': 'queues',
    priority: 10,
    definition: { 'dead-letter-exchange': 'warren.dead', ...definition },
  });
  const response = await fetch(url, { method: 'PUT', headers, body });
  if (!response.ok) throw new Error(`The policy was refused: ${await response.text()}`);
  return {
    remove: async () => {
      await fetch(url, { method: 'DELETE', headers });
    },
  };
}
