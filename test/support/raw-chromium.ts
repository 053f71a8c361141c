import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import WebSocket from 'ws';
import { CHROMIUM, CHROMIUM_ARGS } from './chromium.js';
import { until } from './until.js';

interface Reply {
  id?: number;
  method?: string;
  sessionId?: string;
  result?: Record<string, unknown>;
  error?: { message: string };
}

/**
 * Chromium by its own protocol. Playwright keeps every page in the foreground for ever (focus
 * emulation), so that none could be hidden or frozen.
 */
export class RawChromium {
  readonly #process: ChildProcess;
  readonly #directory: string;
  readonly #socket: WebSocket;
  readonly #replies = new Map<number, (reply: Reply) => void>();
  readonly #crashed = new Set<string>();
  #lastId = 0;

  private constructor(process: ChildProcess, directory: string, socket: WebSocket) {
    this.#process = process;
    this.#directory = directory;
    this.#socket = socket;
    socket.on('message', (data: Buffer) => {
      const reply = JSON.parse(data.toString('utf8')) as Reply;
      if (reply.id !== undefined) this.#replies.get(reply.id)?.(reply);
      if (reply.method === 'Inspector.targetCrashed') this.#crashed.add(reply.sessionId ?? '');
    });
  }

  static async launch(): Promise<RawChromium> {
    const directory = await mkdtemp(join(tmpdir(), 'warren-chromium-'));
    const child = spawn(
      CHROMIUM,
      [
        '--headless=new',
        ...CHROMIUM_ARGS,
        '--remote-debugging-port=0',
        `--user-data-dir=${directory}`,
        'about:blank',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const url = await new Promise<string>((resolve) => {
      let said = '';
      child.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString('utf8');
        const found = /ws:\S+/.exec(said);
        if (found !== null) resolve(found[0]);
      });
    });
    const socket = new WebSocket(url);
    await new Promise((resolve) => socket.once('open', resolve));
    return new RawChromium(child, directory, socket);
  }

  async send(method: string, params: object = {}, sessionId?: string): Promise<Reply['result']> {
    const id = ++this.#lastId;
    const reply = await new Promise<Reply>((resolve) => {
      this.#replies.set(id, resolve);
      this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
    this.#replies.delete(id);
    if (reply.error !== undefined) throw new Error(`${method}: ${reply.error.message}`);
    return reply.result;
  }

  /** A profile of its own: storage, locks and channels are shared by the pages of one. */
  async newProfile(): Promise<Profile> {
    const result = await this.send('Target.createBrowserContext');
    return new Profile(this, result!['browserContextId'] as string);
  }

  hasCrashed(sessionId: string): boolean {
    return this.#crashed.has(sessionId);
  }

  async close(): Promise<void> {
    const exited = new Promise((resolve) => this.#process.once('exit', resolve));
    this.send('Browser.close').catch(() => undefined);
    await exited;
    this.#socket.close();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

export class Profile {
  readonly #browser: RawChromium;
  readonly #id: string;

  constructor(browser: RawChromium, id: string) {
    this.#browser = browser;
    this.#id = id;
  }

  /** A page at `url`, once `ready` holds in it. `before` runs in it before anything else. */
  async newPage(url: string, ready: () => boolean, before?: () => void): Promise<RawPage> {
    const target = await this.#browser.send('Target.createTarget', {
      url: 'about:blank',
      browserContextId: this.#id,
      newWindow: true,
    });
    const attached = await this.#browser.send('Target.attachToTarget', {
      targetId: target!['targetId'],
      flatten: true,
    });
    const page = new RawPage(this.#browser, attached!['sessionId'] as string);
    await page.send('Page.enable');
    await page.send('Inspector.enable');
    if (before !== undefined) {
      const source = `(${before.toString()})()`;
      await page.send('Page.addScriptToEvaluateOnNewDocument', { source });
    }
    await page.goto(url, ready);
    return page;
  }

  async close(): Promise<void> {
    await this.#browser.send('Target.disposeBrowserContext', { browserContextId: this.#id });
  }
}

export class RawPage {
  readonly #browser: RawChromium;
  readonly #sessionId: string;

  constructor(browser: RawChromium, sessionId: string) {
    this.#browser = browser;
    this.#sessionId = sessionId;
  }

  send(method: string, params: object = {}): Promise<Reply['result']> {
    return this.#browser.send(method, params, this.#sessionId);
  }

  async goto(url: string, ready: () => boolean): Promise<void> {
    await this.send('Page.navigate', { url });
    await until(() => this.evaluate(ready), `the page ${url}`);
  }

  /** Goes to the page before, or after, in the tab's history. */
  async go(by: -1 | 1, ready: () => boolean): Promise<void> {
    const history = await this.send('Page.getNavigationHistory');
    const { currentIndex, entries } = history as {
      currentIndex: number;
      entries: { id: number }[];
    };
    await this.send('Page.navigateToHistoryEntry', { entryId: entries[currentIndex + by]!.id });
    await until(() => this.evaluate(ready).catch(() => false), 'the page in the history');
  }

  /** Calls a function in the page; it sees nothing of the test but its argument. */
  async evaluate<Result, Argument = undefined>(
    run: (argument: Argument) => Result | Promise<Result>,
    argument?: Argument,
  ): Promise<Result> {
    const reply = await this.send('Runtime.evaluate', {
      expression: `(${run.toString()})(${JSON.stringify(argument)})`,
      awaitPromise: true,
      returnByValue: true,
    });
    const { result, exceptionDetails } = reply as {
      result: { value: Result };
      exceptionDetails?: { exception?: { description?: string } };
    };
    if (exceptionDetails === undefined) return result.value;
    throw new Error(exceptionDetails.exception?.description ?? 'The page threw.');
  }

  /** The browser's own freeze and thaw, with their events; a page is hidden first. */
  async setFrozen(frozen: boolean): Promise<void> {
    await this.send('Page.setWebLifecycleState', { state: frozen ? 'frozen' : 'active' });
    // A page that is no longer frozen is still hidden.
    if (!frozen) await this.send('Page.bringToFront');
  }

  async setOffline(offline: boolean): Promise<void> {
    await this.send('Network.enable');
    await this.send('Network.emulateNetworkConditions', {
      offline,
      latency: 0,
      downloadThroughput: -1,
      uploadThroughput: -1,
    });
  }

  /** Kills the page's process: no event, no goodbye. */
  async kill(): Promise<void> {
    this.send('Page.crash').catch(() => undefined);
    await until(() => this.#browser.hasCrashed(this.#sessionId), 'the crash');
  }

  async close(): Promise<void> {
    await this.send('Page.close');
  }
}
