import { getClient, stomp, type StateChange } from '@warren/client';
import { element } from './element.js';
import { Network } from './network.js';

/** What the server sends. */
interface Events {
  'chat.message': { number?: number; text: string };
}

const STATES: Record<StateChange['current'], string> = {
  idle: 'Off',
  authorizing: 'Signing in',
  connecting: 'Connecting',
  connected: 'Connected',
  waiting: 'No connection',
  paused: 'Asleep',
  closed: 'Off',
  failed: 'Signed out',
};

/** What is known of a phone outside of it. */
export interface FromOutside {
  /** How many messages wait for it on the broker. */
  waiting: number;
  /** What came by push, by the ids of the messages; the oldest first. */
  notifications: { id: string; title: string; body: string }[];
}

/** One user's phone: a client on a network of its own, and what the user sees of it. */
export class Phone {
  readonly root: HTMLElement;
  readonly #userId: string;
  readonly #network = new Network();
  readonly #state = element('span', { className: 'state', text: STATES.idle });
  readonly #messages = element('ol', { className: 'messages' });
  readonly #notifications = element('ul', { className: 'notifications' });
  /** Ids of messages that the app has shown: their notifications go. */
  readonly #seen = new Set<string>();
  readonly #waiting = element('p', { className: 'waiting' });
  readonly #button = element('button', { className: 'cut', text: 'Cut the network' });

  constructor(userId: string, name: string) {
    this.#userId = userId;
    this.#button.type = 'button';
    this.#button.addEventListener('click', () => {
      this.#toggleNetwork();
    });
    this.#messages.setAttribute('aria-label', `${name}'s messages`);
    this.#messages.setAttribute('aria-live', 'polite');
    this.#waiting.hidden = true;
    this.#notifications.setAttribute('aria-label', `${name}'s notifications`);
    this.#notifications.setAttribute('aria-live', 'polite');
    const title = element('h2', { text: name });
    const screen = element(
      'div',
      { className: 'screen' },
      element('div', { className: 'bar' }, title, this.#state),
      this.#notifications,
      this.#messages,
      this.#waiting,
    );
    this.root = element('article', { className: 'phone' }, screen, this.#button);
    this.root.dataset['user'] = userId;
  }

  /** Connects, and shows every message that the handler gets. */
  start(): void {
    const client = getClient<Events>({
      apiUrl: location.origin,
      userId: this.#userId,
      deviceId: 'phone',
      getToken: () => this.#fetchToken(),
      transport: stomp({ createWebSocket: this.#network.createWebSocket }),
      platform: { fetch: this.#network.fetch },
      // Whoever plays with the button does not want to wait half a minute.
      backoffMaxMs: 2000,
    });
    // Once for the device, wherever its page is open: here a real app would save the message.
    client.handle('*', () => undefined);
    // In every tab: what it shows.
    client.observe('chat.message', ({ id, data }) => {
      if (id !== undefined) this.#seen.add(id);
      this.#show(data.text, data.number);
    });
    client.observe('*', ({ type, data }) => {
      if (type === 'chat.message') return;
      this.#show(typeof data === 'string' ? data : JSON.stringify(data));
    });
    client.subscribe(() => {
      const { state, role, receiving } = client.getSnapshot();
      const isShared = role === 'follower' && receiving;
      this.#state.textContent = isShared ? 'Via another tab' : STATES[state];
      this.root.dataset['state'] = isShared ? 'connected' : state;
    });
    client.start();
  }

  update({ waiting, notifications }: FromOutside): void {
    this.#waiting.hidden = waiting === 0;
    this.#waiting.textContent = `${String(waiting)} waiting in the queue`;
    const shown = notifications.filter(({ id }) => !this.#seen.has(id)).slice(-3);
    const key = shown.map(({ id }) => id).join();
    // What is shown already would appear once more.
    if (this.#notifications.dataset['shown'] === key) return;
    this.#notifications.dataset['shown'] = key;
    this.#notifications.replaceChildren(
      ...shown.map(({ title, body }) =>
        element('li', {}, element('b', { text: title }), element('span', { text: body })),
      ),
    );
  }

  #toggleNetwork(): void {
    if (this.#network.isUp) this.#network.cut();
    else this.#network.restore();
    this.root.classList.toggle('offline', !this.#network.isUp);
    this.#button.textContent = this.#network.isUp ? 'Cut the network' : 'Give it back';
  }

  async #fetchToken(): Promise<string> {
    const response = await this.#network.fetch('/dev/token', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ userId: this.#userId }),
    });
    if (!response.ok) throw new Error(`The server answered ${String(response.status)}.`);
    return ((await response.json()) as { token: string }).token;
  }

  #show(text: string, number?: number): void {
    const bubble = element('li', { className: 'bubble' }, element('span', { text }));
    if (number !== undefined) {
      bubble.prepend(element('b', { className: 'number', text: String(number) }));
    }
    this.#messages.append(bubble);
    this.#messages.scrollTop = this.#messages.scrollHeight;
  }
}
