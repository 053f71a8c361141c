import { element, find } from './element.js';

interface SendReply {
  id: string;
  number: number;
  outcome: string;
  confirmedInMs: number;
}

/** What has become of messages that may still be delivered, by their ids. */
const open = new Map<string, HTMLElement>();
const MOST = 50;

const NAMES: Record<string, string> = { alice: 'Alice', bob: 'Bob' };
const SAMPLES = ['Dinner is ready', 'The train leaves at nine', 'Your parcel is here', 'Call me'];

/** The sender's side: asks the demo's back end to send, and lists what the broker confirmed. */
export function startSender(onSent: () => void): void {
  const form = find('.sender form', HTMLFormElement);
  const text = find('.sender input[name="text"]', HTMLInputElement);
  let sample = 0;
  const nextText = (): string => text.value.trim() || (SAMPLES[sample++ % SAMPLES.length] ?? '');

  const send = async (count: number): Promise<void> => {
    const chosen = find('.to input:checked', HTMLInputElement).value;
    const users = chosen === 'both' ? ['alice', 'bob'] : [chosen];
    for (let index = 0; index < count; index++) {
      const words = nextText();
      for (const user of users) await sendOne(user, words);
    }
    text.value = '';
    onSent();
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void send(1);
  });
  find('.burst', HTMLButtonElement).addEventListener('click', () => {
    void send(10);
  });
}

/** Shows what becomes of what was sent, until it is delivered. */
export async function showOutcomes(): Promise<void> {
  for (const id of [...open.keys()].slice(0, -MOST)) open.delete(id);
  if (open.size === 0) return;
  const response = await fetch(`/demo/api/outcomes?ids=${[...open.keys()].join(',')}`);
  const outcomes = (await response.json()) as Record<string, string>;
  for (const [id, outcome] of Object.entries(outcomes)) {
    const state = open.get(id);
    if (state === undefined) continue;
    state.textContent = outcome;
    state.dataset['outcome'] = outcome;
    if (outcome === 'delivered') open.delete(id);
  }
}

async function sendOne(to: string, text: string): Promise<void> {
  const entry = element(
    'li',
    {},
    element('span', { className: 'words', text: `${NAMES[to] ?? to}: ${text}` }),
  );
  const log = find('.log', HTMLElement);
  log.prepend(entry);
  find('.empty', HTMLElement).hidden = true;
  try {
    const response = await fetch('/demo/api/send', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ to, text }),
    });
    if (!response.ok) throw new Error(`The server answered ${String(response.status)}.`);
    const { id, number, outcome, confirmedInMs } = (await response.json()) as SendReply;
    entry.prepend(element('b', { className: 'number', text: String(number) }));
    const state = element('b', { className: 'outcome', text: outcome });
    const confirm = element('span', { text: ` confirmed in ${confirmedInMs.toFixed(1)} ms` });
    entry.append(element('small', {}, state, confirm));
    open.set(id, state);
  } catch {
    entry.append(
      element('small', { className: 'failed', text: 'not sent: the server or the broker is away' }),
    );
  }
}
