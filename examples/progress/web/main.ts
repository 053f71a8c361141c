import { getClient, type Client } from '@warren/client';
import { chosenUser, find, logIn, type Login } from '@warren/example-common/page';
import type { ProgressEvents } from '../src/events.js';
import { Jobs } from './jobs.js';

const user = chosenUser([
  { title: 'Anna', query: 'as=anna' },
  { title: 'Ben', query: 'as=ben' },
]);
if (user !== undefined) run(await logIn(user));

function run({ user, call, getToken }: Login): void {
  document.body.replaceChildren(find('template', HTMLTemplateElement).content);
  find('h1', HTMLElement).textContent = user;
  const jobs = new Jobs(`job:${user}:`, find('ol', HTMLElement));
  const client = getClient<ProgressEvents>({ apiUrl: location.origin, userId: user, getToken });
  for (const type of ['job.progress', 'job.done'] as const) {
    // Once for the device, and in every tab.
    client.handle(type, ({ data }) => {
      jobs.save(data);
    });
    client.observe(type, ({ data }) => {
      jobs.show(data);
    });
  }
  const status = find('[role=status]', HTMLElement);
  find('.start', HTMLButtonElement).onclick = () => {
    call<{ job: string }>('POST', 'jobs').catch((error: unknown) => {
      status.textContent = error instanceof Error ? error.message : 'Try again.';
    });
  };
  client.subscribe(() => {
    const { receiving, state } = client.getSnapshot();
    // Closed: what was being handled when it was stopped has ended.
    const instead = state === 'closed' ? 'Away' : 'No connection';
    status.textContent = receiving ? 'Connected' : instead;
  });
  leaveAndReturn(client, find('.away', HTMLButtonElement));
  client.start();
}

/** As a phone in a pocket: the worker goes on, and what it says waits. */
function leaveAndReturn(client: Client<ProgressEvents>, button: HTMLButtonElement): void {
  let isAway = false;
  button.onclick = () => {
    isAway = !isAway;
    button.textContent = isAway ? 'Come back' : 'Go away';
    if (isAway) void client.stop();
    else client.start();
  };
}
