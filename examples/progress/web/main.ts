import { getClient } from '@warren/client';
import { chosenUser, find, logIn, type Login } from '@warren/example-common/page';
import type { Progress, ProgressEvents } from '../src/events.js';
import { Bar } from './bar.js';

const user = chosenUser([
  { title: 'Anna', query: 'as=anna' },
  { title: 'Ben', query: 'as=ben' },
]);
if (user !== undefined) run(await logIn(user));

function run({ user, call, getToken }: Login): void {
  const key = `jobs:${user}`;
  const bars = new Map<string, Bar>();
  const known = (): Record<string, Progress> =>
    JSON.parse(localStorage.getItem(key) ?? '{}') as Record<string, Progress>;
  /** Once for the device: what is acked is saved, so that a reload shows it again. */
  const save = (progress: Progress): void => {
    const jobs = known();
    if ((jobs[progress.job]?.done ?? 0) > progress.done) return;
    localStorage.setItem(key, JSON.stringify({ ...jobs, [progress.job]: progress }));
  };
  const show = (progress: Progress): void => {
    let bar = bars.get(progress.job);
    if (bar === undefined) {
      bar = new Bar();
      bars.set(progress.job, bar);
      list.prepend(bar.root);
    }
    bar.show(progress);
  };

  const client = getClient<ProgressEvents>({ apiUrl: location.origin, userId: user, getToken });
  for (const type of ['job.progress', 'job.done'] as const) {
    client.handle(type, ({ data }) => {
      save(data);
    });
    client.observe(type, ({ data }) => {
      show(data);
    });
  }

  document.body.innerHTML = `
    <main>
      <h1></h1>
      <p class="soft" role="status"></p>
      <div class="buttons">
        <button class="start primary">Count the primes</button>
        <button class="away">Go away</button>
      </div>
      <ol aria-label="Jobs"></ol>
    </main>`;
  const list = find('ol', HTMLElement);
  const status = find('[role=status]', HTMLElement);
  const away = find('.away', HTMLButtonElement);
  find('h1', HTMLElement).textContent = user;
  for (const progress of Object.values(known())) show(progress);

  find('.start', HTMLButtonElement).onclick = () => {
    call<{ job: string }>('POST', 'jobs').catch((error: unknown) => {
      status.textContent = error instanceof Error ? error.message : 'Try again.';
    });
  };
  // As a phone in a pocket: the worker goes on, and what it says waits.
  let isAway = false;
  away.onclick = () => {
    isAway = !isAway;
    away.textContent = isAway ? 'Come back' : 'Go away';
    if (isAway) void client.stop();
    else client.start();
  };
  client.subscribe(() => {
    const { receiving, state } = client.getSnapshot();
    // Closed: what was being handled when it was stopped has ended.
    const instead = state === 'closed' ? 'Away' : 'No connection';
    status.textContent = receiving ? 'Connected' : instead;
  });
  client.start();
}
