import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface ReceivedRequest {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** What a service does with a request: an answer, or one of the ways not to give one. */
export type Behaviour =
  | { status: number; headers?: Record<string, string>; body?: unknown; text?: string }
  /** Never answers. */
  | 'hang'
  /** Breaks the connection off. */
  | 'reset'
  /** Answers with what is no HTTP. */
  | 'noise';

/** Somebody else's HTTP service, which behaves as a test wants it to. */
export class HttpService {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(behave: (request: ReceivedRequest) => Behaviour | Promise<Behaviour>) {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method = '', url: path = '', headers } = request;
        void (async () => {
          const behaviour = await behave({ method, path, headers, body: Buffer.concat(chunks) });
          if (behaviour === 'hang') return;
          if (behaviour === 'reset') request.socket.destroy();
          else if (behaviour === 'noise') request.socket.end('\x00\x01 what is this?\r\n\r\n');
          else {
            const { status, headers: more = {}, body, text } = behaviour;
            response.writeHead(status, { 'content-type': 'application/json', ...more });
            response.end(text ?? (body === undefined ? '' : JSON.stringify(body)));
          }
        })();
      });
    });
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(
    behave: (request: ReceivedRequest) => Behaviour | Promise<Behaviour>,
    port = 0,
  ): Promise<HttpService> {
    const service = new HttpService(behave);
    await new Promise<void>((resolve) => service.#server.listen(port, '127.0.0.1', resolve));
    return service;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** `127.0.0.1:port` */
  get host(): string {
    return `127.0.0.1:${String(this.port)}`;
  }

  get url(): string {
    return `http://${this.host}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
