import { createElement, type ReactNode } from 'react';
import { renderToString } from 'react-dom/server';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { getClient } from '@warren/client';
import { useClient, useConnection, useMessages } from '@warren/client/react';
import { settle, TestBed } from '@warren/client/testing';
import { RawChromium, type Profile, type RawPage } from '../support/raw-chromium.js';
import { bundle } from '../support/sdk-page.js';
import { startStack, uniqueUser, userToken, type Stack } from '../support/stack.js';
import { until } from '../support/until.js';

/** An application under StrictMode: a connection's state, a handler, and a list that repaints. */
const APPLICATION = `
import { createElement as h, StrictMode, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { useClient, useConnection, useHandler, useMessages } from './react.js';

window.handled = [];
function Notes({ client }) {
  useHandler(client, 'note', ({ data }) => { window.handled.push(data); });
  const notes = useMessages(client, 'note', { limit: 3 });
  // Effects come after the paint, in their order: those above have run when this one has.
  useEffect(() => {
    window.listening = client !== null;
    return () => { window.listening = false; };
  }, [client]);
  return h('ul', {}, notes.map(({ id, data }) => h('li', { key: id }, data)));
}
function Application({ userId, token }) {
  const client = useClient(userId === null ? null : {
    apiUrl: location.origin,
    userId,
    // A new function with each render.
    getToken: () => token,
  });
  const { state, receiving } = useConnection(client);
  const [shown, setShown] = useState(true);
  window.setShown = setShown;
  return h('main', {}, h('p', {}, state + ' ' + receiving), shown && h(Notes, { client }));
}
const root = createRoot(document.getElementById('root'));
window.render = (userId, token) =>
  root.render(h(StrictMode, {}, h(Application, { userId, token })));
window.unmount = () => root.render(null);
`;

interface AppWindow {
  render: (userId: string | null, token?: string) => void;
  unmount: () => void;
  setShown: (shown: boolean) => void;
  handled: unknown[];
  listening: boolean;
  sockets: number;
}
declare const window: AppWindow;

let stack: Stack;
let browser: RawChromium;
let profile: Profile;
let page: RawPage;
let user: string;
beforeAll(async () => {
  const application = await bundle(APPLICATION);
  stack = await startStack({
    extras: {
      mount: (app) => {
        app.get('/app', (_request, response) => {
          response
            .type('html')
            .send(
              '<!doctype html><div id="root"></div><script type="module" src="/app.js"></script>',
            );
        });
        app.get('/app.js', (_request, response) => {
          response.type('text/javascript').send(application);
        });
      },
    },
  });
  browser = await RawChromium.launch();
});
afterAll(async () => {
  await browser.close();
  await stack.close();
});
beforeEach(async () => {
  user = uniqueUser();
  profile = await browser.newProfile();
  page = await profile.newPage(
    `${stack.apiUrl}/app`,
    () => 'render' in window,
    () => {
      window.sockets = 0;
      const Socket = WebSocket;
      Object.assign(globalThis, {
        WebSocket: class extends Socket {
          constructor(url: string, protocols: string[]) {
            super(url, protocols);
            window.sockets++;
          }
        },
      });
    },
  );
});

const render = (userId: string | null): Promise<void> =>
  page.evaluate(
    ({ userId, token }) => {
      window.render(userId, token);
    },
    { userId, token: userToken(userId ?? 'nobody') },
  );
const status = (): Promise<string> =>
  page.evaluate(() => document.querySelector('p')?.textContent ?? '');
const notes = (): Promise<(string | null)[]> =>
  page.evaluate(() => [...document.querySelectorAll('li')].map((item) => item.textContent));
const sockets = (): Promise<number> => page.evaluate(() => window.sockets);
const isOnline = async (): Promise<boolean> => (await stack.user(user)).online;

describe('the React hooks', () => {
  it('hold one connection under StrictMode, hand over each message once, and repaint', async () => {
    await render(user);
    await until(async () => (await status()) === 'connected true');
    for (const text of ['one', 'two', 'three', 'four']) await stack.send({ user }, text);
    await until(async () => (await notes()).includes('four'));
    expect(await notes()).toEqual(['two', 'three', 'four']);
    expect(await page.evaluate(() => window.handled)).toEqual(['one', 'two', 'three', 'four']);
    expect(await sockets()).toBe(1);
  });

  it('keep the connection when a view comes and goes, and let it go a second after the last', async () => {
    await render(user);
    await until(async () => (await status()) === 'connected true');
    await page.evaluate(() => {
      window.unmount();
    });
    await render(user);
    await until(async () => (await status()) === 'connected true');
    for (const shown of [false, true]) {
      await page.evaluate((value) => {
        window.setShown(value);
      }, shown);
    }
    await until(() => page.evaluate(() => window.listening));
    await stack.send({ user }, 'still here');
    await until(async () => (await notes()).length === 1);
    expect(await sockets()).toBe(1);
    await page.evaluate(() => {
      window.unmount();
    });
    await until(async () => !(await isOnline()));
  });

  it('show nothing of one account to the next, and nothing without one', async () => {
    const other = uniqueUser();
    await render(user);
    await until(async () => (await status()) === 'connected true');
    await stack.send({ user }, 'for the first');
    await until(async () => (await notes()).length === 1);
    await render(other);
    await until(async () => (await status()) === 'connected true');
    expect(await notes()).toEqual([]);
    await until(async () => !(await isOnline()));
    await stack.send({ user: other }, 'for the second');
    await until(async () => (await notes()).length === 1);
    expect(await notes()).toEqual(['for the second']);
    await render(null);
    await until(async () => (await status()) === 'idle false');
    expect(await notes()).toEqual([]);
  });

  it('render on a server, where they connect to nothing', async () => {
    const bed = new TestBed();
    function View(): ReactNode {
      const client = useClient(bed.options);
      const { state } = useConnection(client);
      const messages = useMessages(client, 'note');
      return createElement(
        'p',
        {},
        `${client === null ? 'none' : 'one'} ${state} ${String(messages.length)}`,
      );
    }
    expect(renderToString(createElement(View))).toBe('<p>none idle 0</p>');
    await settle();
    expect(bed.requests).toEqual([]);
    // A client that exists is shown as the browser will find it: not connected yet.
    const client = getClient(bed.options);
    client.start();
    await settle();
    expect(client.getSnapshot().state).toBe('connected');
    function Status(): ReactNode {
      return createElement('p', {}, useConnection(client).state);
    }
    expect(renderToString(createElement(Status))).toBe('<p>idle</p>');
    await client.stop();
  });
});
