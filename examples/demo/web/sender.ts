import { element, find } from './element.js';

interface SendReply {
  number: number;
  outcome: string;
  confirmedInMs: number;
}

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
    const { number, outcome, confirmedInMs } = (await response.json()) as SendReply;
    entry.prepend(element('b', { className: 'number', text: String(number) }));
    const confirm = `${outcome}, confirmed in ${confirmedInMs.toFixed(1)} ms`;
    entry.append(element('small', { text: confirm }));
  } catch {
    entry.append(
      element('small', { className: 'failed', text: 'not sent: the server or the broker is away' }),
    );
  }
}
