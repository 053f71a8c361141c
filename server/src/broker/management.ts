import type { Account, Definitions, Permissions, Policy } from '@warren/rabbitmq';
import { HttpProblem } from '../problem.js';

const TIMEOUT_MS = 3000;
/** Of tens of thousands of objects. */
const LISTING_TIMEOUT_MS = 20_000;

/** The part of RabbitMQ's management API that Warren asks; every call ends within 3 s, listings within 20. */
export class ManagementApi {
  readonly #origin: string;
  readonly #authorization: string;
  readonly #vhost: string;

  /** @param url with the account in it: `http://name:password@host:15672`. */
  constructor(url: string, vhost: string) {
    const parsed = new URL(url);
    const account = [parsed.username, parsed.password].map(decodeURIComponent).join(':');
    this.#authorization = `Basic ${Buffer.from(account, 'utf8').toString('base64')}`;
    this.#origin = parsed.origin + parsed.pathname.replace(/\/$/, '');
    this.#vhost = encodeURIComponent(vhost);
  }

  /** How many messages each queue whose name begins so holds; those that are gone are missing. */
  async depths(prefix: string): Promise<Map<string, number>> {
    // The listing, since 3.10 leaves the totals out when one queue is asked for.
    const query = new URLSearchParams({
      name: `^${prefix.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`,
      use_regex: 'true',
      enable_queue_totals: 'true',
      page: '1',
      page_size: '100',
    });
    const response = await this.#request('GET', `/queues/${this.#vhost}?${query.toString()}`);
    const { items } = (await response.json()) as { items: { name: string; messages?: number }[] };
    return new Map(items.map(({ name, messages }) => [name, messages ?? 0]));
  }

  /** How many messages wait in all queues whose names begin so. */
  async waiting(prefix: string): Promise<number> {
    const query = new URLSearchParams({ columns: 'name,messages', enable_queue_totals: 'true' });
    const response = await this.#request('GET', `/queues/${this.#vhost}?${query.toString()}`, {
      timeoutMs: LISTING_TIMEOUT_MS,
    });
    const all = (await response.json()) as { name: string; messages?: number }[];
    return all
      .filter(({ name }) => name.startsWith(prefix))
      .reduce((sum, { messages }) => sum + (messages ?? 0), 0);
  }

  /** Whether somebody is connected with this login. */
  async isConnected(login: string): Promise<boolean> {
    const path = `/connections/username/${encodeURIComponent(login)}`;
    const response = await this.#request('GET', path, { allow: [404] });
    if (response.status === 404) return false;
    return ((await response.json()) as unknown[]).length > 0;
  }

  /** Names and logins of all connections to the vhost. */
  async connections(): Promise<{ name: string; login: string }[]> {
    // Without the statistics that a listing asks each node for when they are collected.
    const query = new URLSearchParams({ columns: 'name,user,vhost' });
    const response = await this.#request('GET', `/connections?${query.toString()}`, {
      timeoutMs: LISTING_TIMEOUT_MS,
    });
    const all = (await response.json()) as { name: string; user: string; vhost: string }[];
    const here = decodeURIComponent(this.#vhost);
    return all
      .filter(({ vhost }) => vhost === here)
      .map(({ name, user }) => ({ name, login: user }));
  }

  /** Names of all queues of the vhost. */
  async queues(): Promise<Set<string>> {
    const query = new URLSearchParams({ columns: 'name', disable_stats: 'true' });
    const response = await this.#request('GET', `/queues/${this.#vhost}?${query.toString()}`, {
      timeoutMs: LISTING_TIMEOUT_MS,
    });
    const all = (await response.json()) as { name: string }[];
    return new Set(all.map(({ name }) => name));
  }

  /** Closes one connection. One that has just been opened may not be listed yet: false. */
  async closeConnection(name: string, reason: string): Promise<boolean> {
    const path = `/connections/${encodeURIComponent(name)}`;
    const headers = { 'x-reason': reason };
    const response = await this.#request('DELETE', path, { allow: [404], headers });
    return response.status !== 404;
  }

  /** Closes the connections that logged in so. */
  async closeConnections(login: string, reason: string): Promise<void> {
    const path = `/connections/username/${encodeURIComponent(login)}`;
    await this.#request('DELETE', path, { allow: [404], headers: { 'x-reason': reason } });
  }

  async hasAccount(name: string): Promise<boolean> {
    return this.answers(`/users/${encodeURIComponent(name)}`);
  }

  /** What an account may do in the vhost; undefined when it may not enter it. */
  async permissionsOf(name: string): Promise<Permissions | undefined> {
    const path = `/permissions/${this.#vhost}/${encodeURIComponent(name)}`;
    const response = await this.#request('GET', path, { allow: [404] });
    return response.ok ? ((await response.json()) as Permissions) : undefined;
  }

  async setAccount({ name, password, tags, permissions }: Account): Promise<void> {
    const user = encodeURIComponent(name);
    await this.#request('PUT', `/users/${user}`, { body: { password, tags: tags.join(',') } });
    await this.#request('PUT', `/permissions/${this.#vhost}/${user}`, { body: permissions });
  }

  async removeAccount(name: string): Promise<void> {
    await this.#request('DELETE', `/users/${encodeURIComponent(name)}`, { allow: [404] });
  }

  /** Whether a GET is answered with 2xx: a health check that is well, a thing that is there. */
  async answers(path: string): Promise<boolean> {
    const response = await this.#request('GET', path, { allow: [404, 503] });
    await response.body?.cancel();
    return response.ok;
  }

  /** Whatever a GET answers; undefined for what is not there, or may not be seen. */
  async get(path: string): Promise<unknown> {
    const response = await this.#request('GET', path, { allow: [400, 401, 403, 404] });
    if (response.ok) return response.json();
    await response.body?.cancel();
    return undefined;
  }

  /** Sets a policy unless there is one of its name: an operator's change stands. */
  async addPolicy({ name, vhost: _vhost, ...policy }: Policy): Promise<void> {
    const path = `/policies/${this.#vhost}/${encodeURIComponent(name)}`;
    const known = await this.#request('GET', path, { allow: [404] });
    if (known.status !== 404) return;
    await this.#request('PUT', path, { body: policy });
  }

  /** Limits the vhost's connections, unless somebody has. */
  async addConnectionLimit(limit: number): Promise<void> {
    const path = `/vhost-limits/${this.#vhost}`;
    const response = await this.#request('GET', path, { allow: [404] });
    const known = response.ok ? ((await response.json()) as { value?: object }[]) : [];
    if (known.some(({ value = {} }) => 'max-connections' in value)) return;
    await this.#request('PUT', `${path}/max-connections`, { body: { value: limit } });
  }

  /** Makes what is missing of these, and sets what is there to what they say. */
  async importDefinitions(definitions: Definitions): Promise<void> {
    await this.#request('POST', '/definitions', { body: definitions });
  }

  async #request(
    method: string,
    path: string,
    { allow = [], headers = {}, body, timeoutMs = TIMEOUT_MS }: RequestOptions = {},
  ): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(`${this.#origin}/api${path}`, {
        method,
        headers: {
          ...headers,
          authorization: this.#authorization,
          'content-type': 'application/json',
        },
        signal: AbortSignal.timeout(timeoutMs),
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    } catch (error) {
      const why = "The broker's management API cannot be reached.";
      throw new HttpProblem('broker_unavailable', why, { cause: error });
    }
    if (response.ok || allow.includes(response.status)) return response;
    await response.body?.cancel();
    const why = `The broker's management API answered ${String(response.status)}.`;
    throw new HttpProblem('broker_unavailable', why);
  }
}

interface RequestOptions {
  /** Statuses that are an answer rather than a failure. */
  allow?: number[];
  headers?: Record<string, string>;
  body?: object;
  timeoutMs?: number;
}
