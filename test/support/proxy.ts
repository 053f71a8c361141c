import { setTimeout as sleep } from 'node:timers/promises';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A TCP proxy that can be cut: all its connections die at once, as when a cable is pulled. */
export class Proxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #upstream = new Set<Socket>();
  #accepting = true;
  #silent = false;
  #latencyMs = 0;
  /** How many connections were made through it. */
  accepted = 0;

  private constructor(targetPort: number) {
    this.#server = createServer((client) => {
      if (!this.#accepting) {
        client.destroy();
        return;
      }
      this.accepted++;
      const upstream = connect(targetPort, '127.0.0.1');
      this.#upstream.add(upstream);
      for (const [socket, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        /** What is still on its way. */
        let late: Promise<void> | undefined;
        this.#sockets.add(socket);
        socket.setNoDelay(true);
        socket.on('error', () => undefined);
        socket.on('data', (chunk) => {
          if (this.#silent) return;
          const sentAt = performance.now();
          // In order, also of what comes after the way has become shorter.
          if (this.#latencyMs === 0 && late === undefined) other.write(chunk);
          else {
            const mine = (late = (late ?? Promise.resolve())
              .then(() => sleep(Math.max(0, sentAt + this.#latencyMs - performance.now())))
              .then(() => {
                other.write(chunk);
                if (late === mine) late = undefined;
              }));
          }
        });
        socket.on('close', () => {
          this.#sockets.delete(socket);
          this.#upstream.delete(socket);
          other.destroy();
        });
      }
    });
  }

  static async to(targetPort: number): Promise<Proxy> {
    const proxy = new Proxy(targetPort);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#sockets.size / 2;
  }

  /** Kills what is open; new connections get through. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Kills what is open and lets nothing through until {@link open}. */
  block(): void {
    this.#accepting = false;
    this.cut();
  }

  /** Keeps connections open and swallows what is sent: a network that looks well and is not. */
  silence(): void {
    this.#silent = true;
  }

  open(): void {
    this.#accepting = true;
    this.#silent = false;
    for (const upstream of this.#upstream) upstream.resume();
  }

  /** Keeps back what the target answers until {@link open}: a network that is slow. */
  hold(): void {
    for (const upstream of this.#upstream) upstream.pause();
  }

  /** Takes so long for each way: a target that is far away. */
  delay(latencyMs: number): void {
    this.#latencyMs = latencyMs;
  }

  async close(): Promise<void> {
    this.block();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }
}

/** The same address by way of a proxy. */
export function via(url: string, proxy: Proxy): string {
  return url.replace(/(127\.0\.0\.1):\d+/, `$1:${String(proxy.port)}`);
}
