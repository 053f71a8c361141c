import { randomBytes, scryptSync, timingSafeEqual } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import express, { type Express, type RequestHandler } from 'express';
import session from 'express-session';
import { knownHosts } from '@warren/server/dev';

declare module 'express-session' {
  interface SessionData {
    user: string;
  }
}

export interface Item {
  text: string;
  by: string;
}

/** Told of each new item on somebody's list. */
export type OnItem = (user: string, item: Item) => Promise<unknown>;

const hash = (password: string): Buffer => scryptSync(password, SALT, 32);
const SALT = randomBytes(16);
const PASSWORDS = new Map([
  ['anna', hash('anna')],
  ['ben', hash('ben')],
]);

/** The application as it was: a login with a cookie, and lists that others may add to. */
export function createTodo(onItem: OnItem): Express {
  const app = express();
  const lists = new Map<string, Item[]>();
  // Everybody knows the passwords, pages of other sites too.
  app.use(knownHosts());
  app.use(
    session({
      secret: randomBytes(32).toString('hex'),
      resave: false,
      saveUninitialized: false,
      cookie: { httpOnly: true, sameSite: 'strict' },
    }),
  );
  app.use(express.json());
  app.use(express.static(fileURLToPath(new URL('web/', import.meta.url))));

  app.post('/login', (request, response) => {
    const { user, password } = Object(request.body) as { user?: unknown; password?: unknown };
    const known = PASSWORDS.get(String(user));
    if (known === undefined || !timingSafeEqual(known, hash(String(password)))) {
      response.status(401).json({ error: 'No such user and password.' });
      return;
    }
    request.session.user = String(user);
    response.status(204).end();
  });

  app.get('/items', loggedIn, (request, response) => {
    response.json(lists.get(request.session.user ?? '') ?? []);
  });

  app.post('/lists/:user/items', loggedIn, async (request, response) => {
    const { user } = request.params as { user: string };
    const { text } = Object(request.body) as { text?: unknown };
    if (!PASSWORDS.has(user) || typeof text !== 'string') {
      response.status(400).json({ error: 'Say whose list, and what.' });
      return;
    }
    const item = { text, by: request.session.user ?? '' };
    lists.set(user, [...(lists.get(user) ?? []), item]);
    await onItem(user, item);
    response.status(201).json(item);
  });
  return app;
}

const loggedIn: RequestHandler = (request, response, next) => {
  if (request.session.user === undefined) response.status(401).json({ error: 'Log in first.' });
  else next();
};
