import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import express, { type Router } from 'express';
import { logins, userOf, type Example } from '@warren/example-common';

const WORKER = fileURLToPath(new URL('worker.js', import.meta.url));
/** What the worker counts to: some seconds of work. */
const TOTAL = 12_000_000;
/** A job has a core to itself. */
const MOST_JOBS = 2;

function create({ api, secret, amqpUrl }: Parameters<Example['create']>[0]): Router {
  const router = express.Router();
  const back = express.Router();
  router.use('/api', back);
  router.use(express.static(fileURLToPath(new URL('web/', import.meta.url))));

  let running = 0;
  back.use(logins(api, secret));
  back.post('/jobs', (request, response) => {
    if (running >= MOST_JOBS) {
      response.status(429).json({ error: 'All workers are busy. Try again in a moment.' });
      return;
    }
    const job = crypto.randomUUID();
    running++;
    // A queue of jobs would be here; the worker could as well be on another machine.
    const worker = fork(WORKER, [userOf(request), job, String(TOTAL)], {
      env: { ...process.env, AMQP_URL: amqpUrl },
    });
    worker.once('exit', () => {
      running--;
    });
    response.status(202).json({ job });
  });
  return router;
}

export const progress: Example = { name: 'progress', title: 'Progress', create };
