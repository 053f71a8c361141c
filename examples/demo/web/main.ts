import { find } from './element.js';
import { Phone, type FromOutside } from './phone.js';
import { showPlace } from './place.js';
import { showOutcomes, startSender } from './sender.js';
import { startTabs } from './tabs.js';

const phones = { alice: new Phone('alice', 'Alice'), bob: new Phone('bob', 'Bob') };
find('.phones', HTMLElement).append(phones.alice.root, phones.bob.root);

async function showPhones(): Promise<void> {
  try {
    const response = await fetch('/demo/api/phones');
    const { alice, bob } = (await response.json()) as Record<'alice' | 'bob', FromOutside>;
    phones.alice.update(alice);
    phones.bob.update(bob);
    await showOutcomes();
  } catch {
    // The server is away; the phones' own states say so.
  }
}

startTabs();
void showPlace();
phones.alice.start();
phones.bob.start();
startSender(() => void showPhones());
setInterval(() => void showPhones(), 1000);
