import { fileURLToPath } from 'node:url';
import type { Express } from 'express';
import { build, type Rolldown } from 'vite';

const ENTRY = fileURLToPath(new URL('../../client-sdk/dist/entry.js', import.meta.url));

/** A module beside the SDK's, with what it imports: minified as an application's build does it. */
export async function bundle(code: string): Promise<string> {
  const { output } = (await build({
    logLevel: 'silent',
    configFile: false,
    define: { 'process.env.NODE_ENV': '"production"' },
    plugins: [
      {
        name: 'entry',
        enforce: 'pre',
        resolveId: (id) => (id === ENTRY ? id : null),
        load: (id) => (id === ENTRY ? code : null),
      },
    ],
    build: {
      write: false,
      rolldownOptions: {
        input: ENTRY,
        preserveEntrySignatures: 'strict',
        output: { format: 'es', minify: true },
      },
    },
  })) as Rolldown.RolldownOutput;
  return output[0].code;
}

/** The whole SDK as one module. */
export const bundleSdk = (): Promise<string> => bundle(`export * from './index.js'`);

/** Serves a page at `/page` that has the SDK as `window.warren`. */
export function mountSdkPage(app: Express, sdk: string): void {
  app.get('/page', (_request, response) => {
    response
      .type('html')
      .send(
        '<!doctype html><title>page</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>',
      );
  });
  app.get('/page.js', (_request, response) => {
    response
      .type('text/javascript')
      .send(
        "import * as warren from '/sdk.js'; window.load = (url) => import(url); window.warren = warren;",
      );
  });
  app.get('/sdk.js', (_request, response) => {
    response.type('text/javascript').send(sdk);
  });
}
