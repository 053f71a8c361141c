// `npm start`: a private broker, a server, and the demo's page on it.
import { fail, readFlags, runUp } from '@warren/server/dev';
import { createBackend, provisionUsers } from './backend.js';

try {
  let closeBackend: () => Promise<void> = () => Promise.resolve();
  await runUp(
    {
      ...readFlags(process.argv.slice(2)),
      mount: (app, { info }) => {
        const { router, close } = createBackend(info);
        closeBackend = close;
        app.use('/demo', router);
        app.get('/', (_request, response) => {
          response.redirect('/demo/');
        });
      },
      onStop: () => closeBackend(),
    },
    async ({ info, file }) => {
      await provisionUsers(info);
      process.stdout.write(`
  Warren is ready.

    Demo   ${info.apiUrl}/demo/
    API    ${info.apiUrl}  (described at /openapi.json)
    Keys   ${file}

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
