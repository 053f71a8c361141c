import type { Definitions, Policy } from '@warren/rabbitmq';
import { HttpProblem } from '../problem.js';

const TIMEOUT_MS = 3000;

/** The part of RabbitMQ's management API that Warren asks; every call ends within 3 s. */
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

  /** Whether somebody is connected with this login. */
  async isConnected(login: string): Promise<boolean> {
    const path = `/connections/username/${encodeURIComponent(login)}`;
    const response = await this.#request('GET', path, { allow: [404] });
    if (response.status === 404) return false;
    return ((await response.json()) as unknown[]).length > 0;
  }

  /** Closes the connections that logged in so. */
  async closeConnections(login: string, reason: string): Promise<void> {
    const path = `/connections/username/${encodeURIComponent(login)}`;
    await this.#request('DELETE', path, { allow: [404], headers: { 'x-reason': reason } });
  }

  /** Sets a policy unless there is one of its name: an operator's change stands. */
  async addPolicy({ name, vhost: _vhost, ...policy }: Policy): Promise<void> {
    const path = `/policies/${this.#vhost}/${encodeURIComponent(name)}`;
    const known = await this.#request('GET', path, { allow: [404] });
    if (known.status !== 404) return;
    await this.#request('PUT', path, { body: policy });
  }

  /** Makes what is missing of these, and sets what is there to what they say. */
  async importDefinitions(definitions: Definitions): Promise<void> {
    await this.#request('POST', '/definitions', { body: definitions });
  }

  async #request(
    method: string,
    path: string,
    { allow = [], headers = {}, body }: RequestOptions = {},
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
        signal: AbortSignal.timeout(TIMEOUT_MS),
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
}
