import { createHmac } from 'node:crypto';
import type { Router } from 'express';
import { fail, readFlags, runUp, type UpOptions } from '@warren/server/dev';
import { WarrenApi } from './warren-api.js';

/** What an example is made with, wherever it is shown. */
export interface ExampleContext {
  api: WarrenApi;
  /** Of a back end that publishes by itself. */
  amqpUrl: string;
  /** That the example's own sessions are signed with. */
  secret: string;
  /** Where it may keep what is its own. */
  dataDir: string;
}

/** A program of this folder: its own start shows it alone, the demo as one of its tabs. */
export interface Example {
  /** Its path: `/chat/`. */
  name: string;
  title: string;
  /** Its back end and its page. */
  create: (context: ExampleContext) => Router;
  /** What its clients may send to each other. Default: nothing. */
  policy?: UpOptions['policy'];
}

/**
 * Starts a private RabbitMQ and a Warren server, with the example on it, until Ctrl-C. An application
 * has Warren run elsewhere and needs two lines of this: the API's address, and a service key.
 */
export async function startExample({ name, title, create, policy }: Example): Promise<void> {
  try {
    await runUp(
      {
        ...readFlags(process.argv.slice(2)),
        ...(policy !== undefined && { policy }),
        mount: (app, context) => {
          app.use(`/${name}`, create(exampleContext(context)));
        },
      },
      ({ info }) => {
        process.stdout.write(`
  ${title} is ready: ${info.apiUrl}/${name}/
  The console is at ${info.consoleUrl} (adminKey: ${info.adminKey}).
  Ctrl-C stops everything.
`);
      },
    );
  } catch (error) {
    fail(error);
  }
}

type UpContext = Parameters<NonNullable<UpOptions['mount']>>[1];

/** What a running stack has for an example. */
export const exampleContext = ({ info, dataDir }: UpContext): ExampleContext => ({
  api: new WarrenApi(info),
  amqpUrl: info.amqpUrl,
  // Stays the same between starts, as the service key does.
  secret: createHmac('sha256', info.serviceKey).update('sessions of the examples').digest('hex'),
  dataDir,
});
