import { UnauthorizedError, type GetToken } from '@warren/client';

/** A user of an example who has logged in. */
export interface Login {
  user: string;
  /** Calls the example's back end. @throws {Error} with what it says. */
  call: <Reply = unknown>(method: string, path: string, body?: object) => Promise<Reply>;
  /** For `getClient`. */
  getToken: GetToken;
}

/** Logs in at the example's back end, which is below `api/` of the page. */
export async function logIn(user: string): Promise<Login> {
  const request = async (method: string, path: string, body?: object, session?: string) => {
    const response = await fetch(new URL(`api/${path}`, document.baseURI), {
      method,
      headers: {
        'content-type': 'application/json',
        ...(session !== undefined && { authorization: `Bearer ${session}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const isJson = response.headers.get('content-type')?.includes('json') === true;
    const reply: unknown = isJson ? await response.json() : undefined;
    if (response.ok) return reply;
    const { error = `The server answered ${String(response.status)}.` } = Object(reply) as {
      error?: string;
    };
    throw response.status === 401 ? new UnauthorizedError(error) : new Error(error);
  };
  const { session } = (await request('POST', 'login', { user })) as { session: string };
  return {
    user,
    call: async <Reply>(method: string, path: string, body?: object) =>
      (await request(method, path, body, session)) as Reply,
    getToken: async () =>
      ((await request('POST', 'token', undefined, session)) as { token: string }).token,
  };
}

/** One of the pages that are shown beside each other. */
export interface Place {
  title: string;
  /** What its address says: `as=anna`. */
  query: string;
}

/**
 * Who uses this page: `?as=anna`. When nobody is named, several places are shown beside each other, each a page of
 * its own.
 */
export function chosenUser(places: readonly Place[]): string | undefined {
  const user = new URLSearchParams(location.search).get('as');
  if (user !== null) return user;
  document.body.replaceChildren(...places.map(frameFor));
  document.body.className = 'side-by-side';
  return undefined;
}

function frameFor({ title, query }: Place): HTMLElement {
  const figure = document.createElement('figure');
  const caption = document.createElement('figcaption');
  const link = document.createElement('a');
  link.href = `?${query}`;
  link.target = '_blank';
  link.textContent = title;
  caption.append(link);
  const frame = document.createElement('iframe');
  frame.src = link.href;
  frame.title = title;
  frame.allow = 'camera; microphone; autoplay';
  figure.append(caption, frame);
  return figure;
}

/** Finds an element that the page is known to have. */
export function find<Type extends HTMLElement>(selector: string, type: new () => Type): Type {
  const found = document.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`The page has no ${selector}.`);
  return found;
}
