import { fileURLToPath } from 'node:url';
import type { Express } from 'express';
import { build, type Rolldown } from 'vite';

const SDK = fileURLToPath(new URL('../../client-sdk/dist/index.js', import.meta.url));

/** The SDK as a browser loads it: one module, bundled and minified. */
export async function bundleSdk(): Promise<string> {
  const result = (await build({
    logLevel: 'silent',
    configFile: false,
    build: { write: false, minify: true, lib: { entry: SDK, formats: ['es'], fileName: 'warren' } },
  })) as Rolldown.RolldownOutput[];
  return result[0]!.output[0].code;
}

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
      .send("import * as warren from '/sdk.js'; window.warren = warren;");
  });
  app.get('/sdk.js', (_request, response) => {
    response.type('text/javascript').send(sdk);
  });
}
