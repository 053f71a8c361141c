// Starts a private RabbitMQ and a Warren server, and on them the service and two replicas of its cache.
import { fork, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { fail, readFlags, runUp } from '@warren/server/dev';

const USER_JWT_SECRET = randomBytes(32).toString('base64url');
// The server checks with it what the replicas sign with it.
process.env['WARREN_USER_JWT_SECRET'] = USER_JWT_SECRET;

const programs: ChildProcess[] = [];
process.once('exit', () => {
  for (const program of programs) program.kill();
});

try {
  await runUp(readFlags(process.argv.slice(2)), ({ info }) => {
    const env = {
      ...process.env,
      WARREN_API_URL: info.apiUrl,
      AMQP_URL: info.amqpUrl,
      USER_JWT_SECRET,
    };
    const run = (name: string, ...args: string[]): void => {
      programs.push(fork(fileURLToPath(new URL(name, import.meta.url)), args, { env }));
    };
    process.stdout.write('\n  Ctrl-C stops everything.\n\n');
    run('cache.js', 'replica-1');
    run('cache.js', 'replica-2');
    run('prices.js');
  });
} catch (error) {
  fail(error);
}
