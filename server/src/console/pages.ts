import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import express, { type RequestHandler, type Response, type Router } from 'express';
import { HttpProblem } from '../problem.js';

const DIRECTORY = fileURLToPath(new URL('../../console/dist/web/', import.meta.url));
/** Where a page's number belongs, in what was built. */
const NONCE = '__NONCE__';

/**
 * The admin console: files that were built, read when somebody asks for them. Whoever loads them knows no more
 * than anybody who has Warren's packages; what is behind them asks for an admin key.
 * @param stompUrls where the pages connect to.
 */
export function consolePages(stompUrls: string[]): Router {
  const router = express.Router();
  router.get('/', sendPage(stompUrls.map((url) => new URL(url).origin)));
  router.use(
    express.static(DIRECTORY, {
      index: false,
      redirect: false,
      setHeaders: (response) => {
        // Their names hold a digest of what is in them.
        response.setHeader('cache-control', 'public, max-age=31536000, immutable');
      },
    }),
  );
  return router;
}

function sendPage(origins: string[]): RequestHandler {
  return async (request, response) => {
    // What it loads lies below it: without the slash, it would be looked for beside it.
    if (!new URL(request.originalUrl, 'http://server').pathname.endsWith('/')) {
      response.redirect(308, `${request.baseUrl.slice(request.baseUrl.lastIndexOf('/') + 1)}/`);
      return;
    }
    const page = await readPage();
    const nonce = randomBytes(16).toString('base64');
    setPolicy(response, origins, nonce);
    response.type('html').send(page.replaceAll(NONCE, nonce));
  };
}

async function readPage(): Promise<string> {
  try {
    return await readFile(`${DIRECTORY}index.html`, 'utf8');
  } catch (error) {
    const advice = 'The console was not built: run "npm run build".';
    throw new HttpProblem('not_found', advice, { cause: error });
  }
}

/** Scripts and styles of its own, and nobody else's; styles that its library writes carry the number. */
function setPolicy(response: Response, origins: string[], nonce: string): void {
  const policy = {
    'default-src': ["'none'"],
    'script-src': ["'self'"],
    'style-src': ["'self'", `'nonce-${nonce}'`],
    'img-src': ["'self'", 'data:'],
    'connect-src': ["'self'", ...origins],
    'base-uri': ["'none'"],
    'form-action': ["'none'"],
    'frame-ancestors': ["'none'"],
  };
  response.set({
    'content-security-policy': Object.entries(policy)
      .map(([name, values]) => `${name} ${values.join(' ')}`)
      .join('; '),
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  });
}
