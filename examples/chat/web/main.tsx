import { createRoot } from 'react-dom/client';
import { chosenUser, logIn } from '@warren/example-common/page';
import { App } from './app.js';
import { Chat } from './chat.js';

const user = chosenUser([
  { title: 'Anna', query: 'as=anna' },
  { title: 'Ben', query: 'as=ben' },
]);
if (user !== undefined) {
  const chat = new Chat(await logIn(user));
  createRoot(document.body).render(<App chat={chat} />);
  chat.openConversation(new URLSearchParams(location.search).get('open') ?? undefined);
  chat.client.start();
}
