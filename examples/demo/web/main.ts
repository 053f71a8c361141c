import { find } from './element.js';
import { Phone } from './phone.js';
import { startSender } from './sender.js';

const phones = { alice: new Phone('alice', 'Alice'), bob: new Phone('bob', 'Bob') };
find('.phones', HTMLElement).append(phones.alice.root, phones.bob.root);

async function showWaiting(): Promise<void> {
  try {
    const response = await fetch('/demo/api/waiting');
    const waiting = (await response.json()) as { alice: number; bob: number };
    phones.alice.setWaiting(waiting.alice);
    phones.bob.setWaiting(waiting.bob);
  } catch {
    // The server is away; the phones' own states say so.
  }
}

phones.alice.start();
phones.bob.start();
startSender(() => void showWaiting());
setInterval(() => void showWaiting(), 1000);
