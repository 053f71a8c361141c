// `npm start`: a private broker, a server, and on it the demo's page, with the examples as its tabs.
import { call } from '@warren/example-call';
import { chat } from '@warren/example-chat';
import { exampleContext } from '@warren/example-common';
import { notification } from '@warren/example-notification';
import { progress } from '@warren/example-progress';
import { fail, readFlags, runUp } from '@warren/server/dev';
import { Api, createBackend, provisionUsers, PUSH_PATH } from './backend.js';

try {
  await runUp(
    {
      ...readFlags(process.argv.slice(2)),
      pushPath: PUSH_PATH,
      // What clients send to each other, only the calls need.
      ...(call.policy !== undefined && { policy: call.policy }),
      mount: (app, context) => {
        const { info, webhookSecret, dataDir } = context;
        app.use('/demo', createBackend(new Api(info), webhookSecret, dataDir));
        for (const { name, create } of [chat, notification, progress, call])
          app.use(`/${name}`, create(exampleContext(context)));
        app.get('/', (_request, response) => {
          response.redirect('/demo/');
        });
      },
    },
    async ({ info, file }) => {
      await provisionUsers(new Api(info));
      process.stdout.write(`
  Warren is ready.

    Demo     ${info.apiUrl}/demo/
    Console  ${info.consoleUrl}  (sign in with the adminKey in dev.json)
    API      ${info.apiUrl}  (described at /openapi.json)
    Keys     ${file}

  Open the demo, and send Alice a message (the other way round, it waits for her):

    curl -X POST ${info.apiUrl}/v1/messages \\
      -H 'Authorization: Bearer ${info.serviceKey}' \\
      -H 'Content-Type: application/json' \\
      -d '{"to":{"user":"alice"},"type":"chat.message","data":{"text":"hello from curl"}}'

  Ctrl-C stops everything.
`);
    },
  );
} catch (error) {
  fail(error);
}
