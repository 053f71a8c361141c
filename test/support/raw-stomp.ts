import WebSocket from 'ws';

export interface StompFrame {
  command: string;
  headers: Record<string, string>;
  body: string;
}

/** A STOMP client that sends whatever it is told to, well-behaved or not. */
export class RawStomp {
  readonly frames: StompFrame[] = [];
  readonly #socket: WebSocket;
  readonly closed: Promise<void>;
  #listeners: (() => void)[] = [];

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        resolve();
        this.#notify();
      });
    });
    socket.on('error', () => undefined);
    socket.on('message', (data: Buffer) => {
      for (const text of data.toString('utf8').split('\0')) {
        const frame = parse(text);
        if (frame !== undefined) this.frames.push(frame);
      }
      this.#notify();
    });
  }

  static async open(url: string): Promise<RawStomp> {
    const socket = new WebSocket(url, ['v12.stomp']);
    const client = new RawStomp(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
    });
    return client;
  }

  get isClosed(): boolean {
    return this.#socket.readyState === WebSocket.CLOSED;
  }

  /** True when the broker let this login in. */
  async login(headers: Record<string, string>): Promise<boolean> {
    this.send('CONNECT', { 'accept-version': '1.2', 'heart-beat': '0,0', ...headers });
    // RabbitMQ 4.0.5 lets one in sixty logins of this kind, closed as soon as made, wait for 5 s.
    return (await this.next(['CONNECTED', 'ERROR'], 10_000))?.command === 'CONNECTED';
  }

  send(command: string, headers: Record<string, string>, body = ''): void {
    const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}`);
    this.#socket.send(`${[command, ...lines].join('\n')}\n\n${body}\0`);
  }

  /** A part of a frame, or whatever is none. */
  sendPart(text: string): void {
    this.#socket.send(text);
  }

  /** The next frame of one of these kinds; undefined when the socket closes or the time passes first. */
  async next(commands: string[], timeoutMs = 3000): Promise<StompFrame | undefined> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const index = this.frames.findIndex(({ command }) => commands.includes(command));
      if (index >= 0) return this.frames.splice(index, 1)[0];
      const left = deadline - performance.now();
      if (this.isClosed || left <= 0) return undefined;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#listeners.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  async close(): Promise<void> {
    this.#socket.terminate();
    await this.closed;
  }

  #notify(): void {
    for (const listener of this.#listeners.splice(0)) listener();
  }
}

function parse(text: string): StompFrame | undefined {
  const trimmed = text.replace(/^\n+/, '');
  if (trimmed === '') return undefined;
  const [head = '', ...rest] = trimmed.split('\n\n');
  const [command = '', ...lines] = head.split('\n');
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
  );
  return { command, headers, body: rest.join('\n\n') };
}
