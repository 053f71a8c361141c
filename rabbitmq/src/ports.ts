import { createServer, type Server } from 'node:net';

const HOST = '127.0.0.1';

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: HOST, exclusive: true }, () => {
      resolve(server);
    });
  });
}

const close = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
  });

/** Below what systems hand out to connections (from 32768 on, or 49152), and above the well-known. */
const LOWEST = 15_000;
const HIGHEST = 32_000;
const ATTEMPTS = 1000;

/**
 * Finds `count` ports on loopback that nothing listens on; all different. A broker takes seconds until
 * it listens, and any connection that is made meanwhile could be given a port that the system itself
 * proposed; so they are drawn by lot from where it proposes none.
 */
export async function freePorts(count: number): Promise<number[]> {
  // Held open together, so that none is drawn twice.
  const servers = new Map<number, Server>();
  for (let attempt = 0; servers.size < count && attempt < ATTEMPTS; attempt++) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if (servers.has(port)) continue;
    const server = await listen(port).catch(() => undefined);
    if (server !== undefined) servers.set(port, server);
  }
  await Promise.all([...servers.values()].map(close));
  if (servers.size < count) throw new Error('No free ports were found.');
  return [...servers.keys()];
}

/** Whether something could listen on this port of loopback now. */
export async function isPortFree(port: number): Promise<boolean> {
  try {
    await close(await listen(port));
    return true;
  } catch {
    return false;
  }
}
