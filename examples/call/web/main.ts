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
  document.body.replaceChildren(find('template', HTMLTemplateElement).content);
  find('h1', HTMLElement).textContent = user;
  const dialled = find('.dial input', HTMLInputElement);
  dialled.value = user === 'anna' ? 'ben' : 'anna';
  const client = getClient<CallEvents>({ apiUrl: location.origin, userId: user, getToken });
  const phone = new Phone(new Signals(client), user, {
    onState: showState,
    onStream: (side, stream) => {
      find(`video.${side}`, HTMLVideoElement).srcObject = stream ?? null;
    },
    onText: (from, text) => {
      const line = document.createElement('li');
      line.textContent = `${from}: ${text}`;
      find('.text ol', HTMLElement).append(line);
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
    const { receiving } = client.getSnapshot();
    find('[role=status]', HTMLElement).textContent = receiving ? 'Ready' : 'No connection';
  });
  client.start();
}

function showState(state: PhoneState): void {
  const { name } = state;
  find('[role=status]', HTMLElement).textContent = wordsFor(state);
  find('main', HTMLElement).dataset['state'] = name;
  find('.dial', HTMLElement).hidden = name !== 'idle';
  find('.buttons', HTMLElement).hidden = name === 'idle';
  find('.accept', HTMLElement).hidden = name !== 'ringing';
  find('.end', HTMLElement).textContent = name === 'ringing' ? 'Decline' : 'Hang up';
  find('.text', HTMLElement).hidden = name !== 'talking';
  if (name !== 'talking') find('.text ol', HTMLElement).replaceChildren();
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
