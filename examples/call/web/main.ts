import { getClient } from '@warren/client';
import { chosenUser, find, logIn, type Login } from '@warren/example-common/page';
import type { CallEvents } from './events.js';
import { Phone, type PhoneState } from './phone.js';
import { Signals } from './signals.js';

const user = chosenUser([
  { title: 'Anna', query: 'as=anna' },
  { title: 'Ben', query: 'as=ben' },
]);
if (user !== undefined) run(await logIn(user));

function run({ user, getToken }: Login): void {
  const partner = user === 'anna' ? 'ben' : 'anna';
  document.body.innerHTML = `
    <main>
      <header><h1></h1><p role="status">Connecting …</p></header>
      <div class="screen">
        <video class="other" autoplay playsinline></video>
        <video class="own" autoplay playsinline muted></video>
      </div>
      <form class="dial">
        <input name="user" aria-label="Whom to call" required />
        <button class="primary">Call</button>
      </form>
      <div class="buttons" hidden>
        <button class="accept primary">Answer</button>
        <button class="end">Hang up</button>
      </div>
      <section class="text" hidden>
        <ol aria-label="Text" aria-live="polite"></ol>
        <form><input name="text" aria-label="Text" autocomplete="off" /><button>Send</button></form>
      </section>
    </main>`;
  const status = find('[role=status]', HTMLElement);
  const texts = find('.text ol', HTMLElement);
  find('h1', HTMLElement).textContent = user;
  const dialled = find('.dial input', HTMLInputElement);
  dialled.value = partner;

  const show = (state: PhoneState): void => {
    status.textContent = wordsFor(state);
    const { name } = state;
    find('main', HTMLElement).dataset['state'] = name;
    find('.dial', HTMLElement).hidden = name !== 'idle';
    find('.buttons', HTMLElement).hidden = name === 'idle';
    find('.accept', HTMLElement).hidden = name !== 'ringing';
    find('.end', HTMLElement).textContent = name === 'ringing' ? 'Decline' : 'Hang up';
    find('.text', HTMLElement).hidden = name !== 'talking';
    if (name !== 'talking') texts.replaceChildren();
  };
  const client = getClient<CallEvents>({ apiUrl: location.origin, userId: user, getToken });
  const phone = new Phone(new Signals(client), user, {
    onState: show,
    onStream: (side, stream) => {
      find(`video.${side}`, HTMLVideoElement).srcObject = stream ?? null;
    },
    onText: (from, text) => {
      const line = document.createElement('li');
      line.textContent = `${from}: ${text}`;
      texts.append(line);
    },
  });

  find('.dial', HTMLFormElement).onsubmit = (event) => {
    event.preventDefault();
    void phone.call(dialled.value.trim());
  };
  find('.accept', HTMLElement).onclick = () => void phone.accept();
  find('.end', HTMLElement).onclick = () => {
    phone.hangUp();
  };
  find('.text form', HTMLFormElement).onsubmit = (event) => {
    event.preventDefault();
    const input = find('.text input', HTMLInputElement);
    if (input.value !== '' && phone.say(input.value)) input.value = '';
  };
  client.subscribe(() => {
    if (phone.state.name !== 'idle') return;
    status.textContent = client.getSnapshot().receiving ? 'Ready' : 'No connection';
  });
  client.start();
}

function wordsFor(state: PhoneState): string {
  switch (state.name) {
    case 'idle':
      return state.why ?? 'Ready';
    case 'calling':
      return `Calling ${state.user} …`;
    case 'ringing':
      return `${state.user} is calling`;
    case 'talking':
      return state.isConnected ? `Talking to ${state.user}` : `Connecting to ${state.user} …`;
  }
}
