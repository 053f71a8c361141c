import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';

/** An application's own HTTP server, which checks what Warren posts as its documentation says. */
export class Application {
  readonly secret = `whsec_${randomBytes(32).toString('base64')}`;
  /** What came with a good signature, the oldest first. */
  readonly received: { id: string; body: unknown }[] = [];
  /** What the next requests are answered with; then 200 and {}. */
  readonly answers: { status: number; body?: unknown }[] = [];
  /** What every request is answered with, once {@link answers} are used up. */
  usual: { status: number; body?: unknown } = { status: 200, body: {} };
  forged = 0;
  readonly #server: Server;

  private constructor() {
    const webhook = new Webhook(this.secret);
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        try {
          const headers = request.headers as Record<string, string>;
          const body = webhook.verify(Buffer.concat(chunks).toString('utf8'), headers);
          this.received.push({ id: headers['webhook-id']!, body });
        } catch {
          this.forged++;
        }
        const { status, body } = this.answers.shift() ?? this.usual;
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(JSON.stringify(body ?? {}));
      });
    });
  }

  static async start(): Promise<Application> {
    const application = new Application();
    await new Promise<void>((resolve) => application.#server.listen(0, '127.0.0.1', resolve));
    return application;
  }

  get url(): string {
    return `http://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}/`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
