import { fileURLToPath } from 'node:url';
import express, { type Router } from 'express';
import { logins, type Example } from '@warren/example-common';

/** There is nothing else to do for a server: media go from one page to the other. */
function create({ api, secret }: Parameters<Example['create']>[0]): Router {
  const router = express.Router();
  router.use('/api', logins(api, secret));
  router.use(express.static(fileURLToPath(new URL('web/', import.meta.url))));
  return router;
}

/** Anybody may call anybody. A call that is not seen at once rings on the phone, too. */
const policy: Example['policy'] = ({ from, to, type }) => {
  if (!('user' in to) || !type.startsWith('call.')) return false;
  if (type !== 'call.invite') return true;
  return { push: { title: `${from} is calling`, body: 'Tap to answer.', afterMs: 1000 } };
};

export const call: Example = { name: 'call', title: 'Call', create, policy };
