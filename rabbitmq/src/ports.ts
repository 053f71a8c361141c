import { connect, createServer, type Server } from 'node:net';

const HOST = '127.0.0.1';

function listen(port: number, host = HOST): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host, exclusive: true }, () => {
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

/** `WARREN_TEST_PORTS`, `15000-20000` for example, so that runs of the tests side by side never draw the same. */
function range(): [lowest: number, highest: number] {
  const [lowest = LOWEST, highest = HIGHEST] = (process.env['WARREN_TEST_PORTS'] ?? '')
    .split('-', 2)
    .map((part) => Number(part) || undefined);
  return [lowest, highest];
}

/** What was handed out before. Of two brokers that start side by side, neither listens on its ports yet. */
const drawnBefore = new Set<number>();

/**
 * Finds `count` ports on loopback that nothing listens on; all different, and others at each call. A broker takes
 * seconds until it listens, and any connection that is made meanwhile could be given a port that the system itself
 * proposed; so they are drawn by lot from where it proposes none.
 */
export async function freePorts(count: number): Promise<number[]> {
  const [lowest, highest] = range();
  // Held open together, so that none is drawn twice.
  const servers = new Map<number, Server>();
  for (let attempt = 0; servers.size < count && attempt < ATTEMPTS; attempt++) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest));
    if (servers.has(port) || drawnBefore.has(port)) continue;
    const server = await listen(port).catch(() => undefined);
    if (server !== undefined) servers.set(port, server);
  }
  await Promise.all([...servers.values()].map(close));
  if (servers.size < count) throw new Error('No free ports were found.');
  for (const port of servers.keys()) drawnBefore.add(port);
  return [...servers.keys()];
}

/** Whether something could listen on this port now; 0 is any. @param host loopback by default. */
export async function isPortFree(port: number, host = HOST): Promise<boolean> {
  try {
    await close(await listen(port, host));
    return true;
  } catch {
    return false;
  }
}

/** Whether something listens there. Asked so, a port is not taken from what is about to listen on it. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: HOST });
    const settle = (listens: boolean) => () => {
      socket.destroy();
      resolve(listens);
    };
    socket.once('connect', settle(true));
    socket.once('error', settle(false));
  });
}
