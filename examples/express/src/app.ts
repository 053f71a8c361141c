// Warren in an application that was there before. Where the broker is and with which keys is in WARREN_…
import { once } from 'node:events';
import { createWarren } from '@warren/server';
import { createTodo, type Item } from './todo.js';

export interface Events {
  'item.added': Item;
}

const warren = await createWarren<Events>({
  // The application's own login says who it is; there is no other token.
  authenticate: (request) => request.session.user ?? null,
});
const app = createTodo((user, item) => warren.publisher.toUser(user, 'item.added', item));
app.use('/warren', warren.router);

const server = app.listen(Number(process.env['PORT'] ?? 3000), '127.0.0.1');
await once(server, 'listening');
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => {
    server.close();
    void warren.close();
  });
