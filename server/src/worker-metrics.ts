import { createServer } from 'node:http';
import type { Registry } from 'prom-client';
import { PortTakenError } from './server.js';

export interface WorkerMetricsOptions {
  host: string;
  port: number;
  registry: Registry;
}

/**
 * `GET /metrics` and `GET /health/live` of a worker, which has no other routes.
 * @throws {PortTakenError}
 */
export async function serveMetrics({
  host,
  port,
  registry,
}: WorkerMetricsOptions): Promise<{ close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://worker');
    if (request.method !== 'GET' || !['/metrics', '/health/live'].includes(pathname)) {
      response.writeHead(404).end();
      return;
    }
    if (pathname === '/health/live') {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}');
      return;
    }
    registry.metrics().then(
      (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? new PortTakenError(port, { cause: error }) : error);
    });
    server.listen(port, host, resolve);
  });
  return {
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
