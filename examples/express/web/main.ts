import { getClient } from '@warren/client';
import type { Events } from '../src/app.js';
import type { Item } from '../src/todo.js';

const status = document.querySelector('[role=status]');
const list = document.querySelector('ul');

const post = (path: string, body: object): Promise<Response> =>
  fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

async function showItems(): Promise<void> {
  const items = (await (await fetch('items')).json()) as Item[];
  list?.replaceChildren(
    ...items.map(({ text, by }) => {
      const entry = document.createElement('li');
      entry.textContent = `${text} (${by})`;
      return entry;
    }),
  );
}

function onSubmit(id: string, act: (values: Record<string, string>) => Promise<void>): void {
  const form = document.querySelector<HTMLFormElement>(`#${id}`);
  form?.addEventListener('submit', (event) => {
    event.preventDefault();
    void act(Object.fromEntries(new FormData(form)) as Record<string, string>);
  });
}

onSubmit('login', async ({ user = '', password }) => {
  const response = await post('login', { user, password });
  if (!response.ok) {
    if (status !== null) status.textContent = 'No such user and password.';
    return;
  }
  document.querySelector('#login')?.remove();
  document.querySelector('#add')?.removeAttribute('hidden');
  receive(user);
});
onSubmit('add', async ({ user = '', text }) => {
  await post(`lists/${user}/items`, { text });
});

function receive(userId: string): void {
  const client = getClient<Events>({
    apiUrl: `${location.origin}/warren`,
    userId,
    // The cookie says who it is.
    getToken: () => 'cookie',
  });
  // The list itself is the application's: what is new is looked up, also after a time without a network.
  client.handle('item.added', () => undefined);
  client.observe('item.added', () => void showItems());
  client.subscribe(() => {
    const { receiving } = client.getSnapshot();
    if (status !== null) status.textContent = receiving ? 'Connected' : 'No connection';
    if (receiving) void showItems();
  });
  client.start();
}
