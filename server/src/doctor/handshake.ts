import WebSocket from 'ws';

const TIMEOUT_MS = 3000;

/** - `status`: of an answer that is no WebSocket. */
export type Handshake =
  { socket: WebSocket } | { socket?: undefined; status?: number; error?: Error };

/** Opens a WebSocket as a page of this origin would; without one, as a service would. Close it. */
export function shakeHands(url: string, origin?: string): Promise<Handshake> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, ['v12.stomp'], {
      handshakeTimeout: TIMEOUT_MS,
      ...(origin !== undefined && { origin }),
    });
    socket.once('open', () => {
      resolve({ socket });
    });
    socket.once('unexpected-response', (_request, response) => {
      resolve({ status: response.statusCode ?? 0 });
      socket.terminate();
    });
    socket.on('error', (error) => {
      resolve({ error });
    });
  });
}
