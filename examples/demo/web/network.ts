/** A phone's network, which can be cut: what is open dies, and nothing new gets through. */
export class Network {
  #up = true;
  readonly #sockets = new Set<WebSocket>();

  get isUp(): boolean {
    return this.#up;
  }

  /** Instead of the page's own `WebSocket`. */
  readonly createWebSocket = (url: string, protocols: string[]): WebSocket => {
    const socket = new WebSocket(url, protocols);
    this.#sockets.add(socket);
    socket.addEventListener('close', () => {
      this.#sockets.delete(socket);
    });
    if (!this.#up) socket.close();
    return socket;
  };

  /** Instead of the page's own `fetch`. */
  readonly fetch: typeof globalThis.fetch = (...request) =>
    this.#up ? globalThis.fetch(...request) : Promise.reject(new TypeError('The network is down.'));

  cut(): void {
    this.#up = false;
    for (const socket of this.#sockets) socket.close();
  }

  restore(): void {
    this.#up = true;
  }
}
