import {
  parseVersion,
  type Account,
  type Definitions,
  type Permissions,
  type Policy,
  type Version,
} from '@warren/rabbitmq';
import { HttpProblem } from '../problem.js';

const TIMEOUT_MS = 3000;
/** Of tens of thousands of objects. */
const LISTING_TIMEOUT_MS = 20_000;

/** The part of RabbitMQ's management API that Warren asks; every call ends within 3 s, listings within 20. */
export class ManagementApi {
  readonly #origin: string;
  readonly #authorization: string;
  readonly #vhost: string;
  #lastDepths: Promise<unknown> = Promise.resolve();
  #nextDepths: Promise<Map<string, number>> | undefined;

  /** @param url with the account in it: `http://name:password@host:15672`. */
  constructor(url: string, vhost: string) {
    const parsed = new URL(url);
    const account = [parsed.username, parsed.password].map(decodeURIComponent).join(':');
    this.#authorization = `Basic ${Buffer.from(account, 'utf8').toString('base64')}`;
    this.#origin = parsed.origin + parsed.pathname.replace(/\/$/, '');
    this.#vhost = encodeURIComponent(vhost);
  }

  get host(): string {
    return new URL(this.#origin).host;
  }

  /** How many messages a queue holds; undefined when it is gone, or does not say. */
  async depth(queue: string): Promise<number | undefined> {
    const query = 'disable_stats=true&enable_queue_totals=true';
    const path = `/queues/${this.#vhost}/${encodeURIComponent(queue)}?${query}`;
    const response = await this.#request('GET', path, { allow: [404, 500] });
    if (response.status === 404) return undefined;
    if (response.ok) {
      const { messages } = (await response.json()) as { messages?: unknown };
      if (typeof messages === 'number') return messages;
    } else await response.body?.cancel();
    // RabbitMQ 3 leaves the totals out when one is asked for; RabbitMQ 4 answers 500 when its process is dead.
    return (await this.depths()).get(queue);
  }

  /**
   * How many messages each queue holds. However many ask, the broker makes one listing at a time; those who ask
   * meanwhile share the next.
   */
  depths(): Promise<Map<string, number>> {
    this.#nextDepths ??= this.#lastDepths.then(() => {
      this.#nextDepths = undefined;
      const listing = this.#askForDepths();
      this.#lastDepths = listing.catch(() => undefined);
      return listing;
    });
    return this.#nextDepths;
  }

  /** Whether somebody is connected with this login. */
  async isConnected(login: string): Promise<boolean> {
    return (await this.connectionsOf(login)).length > 0;
  }

  /** Names of the connections with this login. The broker goes through all that it has. */
  async connectionsOf(login: string): Promise<string[]> {
    const path = `/connections/username/${encodeURIComponent(login)}`;
    const response = await this.#request('GET', path, { allow: [404] });
    if (response.status === 404) return [];
    return ((await response.json()) as { name: string }[]).map(({ name }) => name);
  }

  /**
   * Whether a connection is open. RabbitMQ 4.3 fails with 500 when it is to show one while statistics are off
   * (measured on 4.3.6); by this condition it answers 304 before it gets so far, as any version does.
   */
  async hasConnection(name: string): Promise<boolean> {
    const path = `/connections/${encodeURIComponent(name)}?disable_stats=true`;
    const headers = { 'if-none-match': '*' };
    const response = await this.#request('GET', path, { allow: [304, 404], headers });
    await response.body?.cancel();
    return response.status !== 404;
  }

  /** Names and logins of all connections to the vhost; none from 4.3 on, where statistics are off. */
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

  /** How many queues whose names begin so there are of each type. */
  async countByType(prefix: string): Promise<Record<string, number>> {
    const all = await this.#list({ columns: 'name,type' });
    const counts: Record<string, number> = {};
    for (const { name, type = 'classic' } of all) {
      if (name.startsWith(prefix)) counts[type] = (counts[type] ?? 0) + 1;
    }
    return counts;
  }

  /** Names of all queues of the vhost. */
  async queues(): Promise<Set<string>> {
    const all = await this.#list({ columns: 'name' });
    return new Set(all.map(({ name }) => name));
  }

  /**
   * Names that begin so of classic queues that are written down, on a node that runs, and have no process. One that is
   * deleted meanwhile may be among them.
   */
  async queuesWithoutProcess(prefix: string): Promise<Set<string>> {
    const known = await this.#list({ columns: 'name,type,state' });
    // To count messages each process is asked; what does not answer since it is not there is left out.
    const alive = await this.#list({ columns: 'name,messages', enable_queue_totals: 'true' });
    const answered = new Set(alive.map(({ name }) => name));
    const without = known.filter(
      ({ name, type = 'classic', state }) =>
        name.startsWith(prefix) && type === 'classic' && state !== 'down' && !answered.has(name),
    );
    return new Set(without.map(({ name }) => name));
  }

  /** By which routing keys a queue is bound to an exchange; none when there is no such queue. */
  async bindingKeys(exchange: string, queue: string): Promise<string[]> {
    const [source, destination] = [exchange, queue].map(encodeURIComponent);
    const path = `/bindings/${this.#vhost}/e/${source ?? ''}/q/${destination ?? ''}`;
    const bindings = (await this.get(path)) as { routing_key: string }[] | undefined;
    return (bindings ?? []).map(({ routing_key: key }) => key);
  }

  /** Closes one connection. One that has just been opened may not be listed yet: false. */
  async closeConnection(name: string, reason: string): Promise<boolean> {
    const path = `/connections/${encodeURIComponent(name)}?disable_stats=true`;
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

  /** Why a GET is refused, in the broker's words; undefined when it is not. */
  async refusal(path: string): Promise<string | undefined> {
    const response = await this.#request('GET', path, { allow: [401, 403] });
    if (response.ok) {
      await response.body?.cancel();
      return undefined;
    }
    const { reason } = (await response.json()) as { reason?: string };
    return reason ?? String(response.status);
  }

  /** Whatever a GET answers; undefined for what is not there, or may not be seen. */
  async get(path: string): Promise<unknown> {
    const response = await this.#request('GET', path, { allow: [400, 401, 403, 404] });
    if (response.ok) return response.json();
    await response.body?.cancel();
    return undefined;
  }

  /** Removes whatever is there by this path. A queue that one connection alone may use goes with that. */
  async delete(path: string): Promise<void> {
    await this.#request('DELETE', path, { allow: [400, 404, 405] });
  }

  /** Of the node that answers; undefined when this account may not know. */
  async version(): Promise<Version | undefined> {
    const overview = (await this.get('/overview')) as { rabbitmq_version?: string } | undefined;
    return parseVersion(overview?.rabbitmq_version ?? '');
  }

  /** Undefined when there is none of this name. */
  async policy(name: string): Promise<Omit<Policy, 'vhost'> | undefined> {
    const path = `/policies/${this.#vhost}/${encodeURIComponent(name)}`;
    return (await this.get(path)) as Policy | undefined;
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

  /** All queues of the vhost, without statistics. */
  async #list(parameters: Record<string, string>): Promise<Listed[]> {
    const query = new URLSearchParams({ disable_stats: 'true', ...parameters });
    const response = await this.#request('GET', `/queues/${this.#vhost}?${query.toString()}`, {
      timeoutMs: LISTING_TIMEOUT_MS,
    });
    return (await response.json()) as Listed[];
  }

  async #askForDepths(): Promise<Map<string, number>> {
    const query = new URLSearchParams({ columns: 'name,messages', enable_queue_totals: 'true' });
    const response = await this.#request('GET', `/queues/${this.#vhost}?${query.toString()}`, {
      timeoutMs: LISTING_TIMEOUT_MS,
    });
    const all = (await response.json()) as { name: string; messages?: number }[];
    return new Map(all.map(({ name, messages }) => [name, messages ?? 0]));
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

/** What a listing says of a queue, as far as it was asked for. */
interface Listed {
  name: string;
  type?: string;
  state?: string;
}

interface RequestOptions {
  /** Statuses that are an answer rather than a failure. */
  allow?: number[];
  headers?: Record<string, string>;
  body?: object;
  timeoutMs?: number;
}
