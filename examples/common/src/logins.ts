import express, { type Request, type Router } from 'express';
import jwt from 'jsonwebtoken';
import type { WarrenApi } from './warren-api.js';

const NAME = /^[a-z][a-z0-9-]{0,31}$/;

/**
 * Where an application has its login, the examples take anybody's word for a name. `POST /login` gives a session
 * of the example's own; `POST /token` is what every application adds: whoever has a session gets a token for
 * Warren. Routes after this router are for who is logged in; {@link userOf} tells who.
 */
export function logins(api: WarrenApi, secret: string): Router {
  const router = express.Router();
  router.use(express.json({ limit: '64kb' }));
  router.post('/login', (request, response) => {
    const { user } = Object(request.body) as { user?: unknown };
    if (typeof user !== 'string' || !NAME.test(user)) {
      response.status(400).json({ error: 'A name has 1 to 32 of a-z, 0-9 and -, a letter first.' });
      return;
    }
    response.json({ session: jwt.sign({}, secret, { subject: user, expiresIn: '12h' }) });
  });
  router.use((request, response, next) => {
    const [, session = ''] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? [];
    try {
      const claims = jwt.verify(session, secret, { algorithms: ['HS256'] }) as jwt.JwtPayload;
      response.locals['user'] = claims.sub;
      next();
    } catch {
      response.status(401).json({ error: 'Log in first.' });
    }
  });
  router.post('/token', async (request, response) => {
    const path = `users/${userOf(request)}/tokens`;
    response.json(await api.call<{ token: string }>('POST', path));
  });
  return router;
}

/** Who has sent this request; only behind {@link logins}. */
export const userOf = ({ res }: Request): string => String(res?.locals['user']);
