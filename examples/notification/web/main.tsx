import { createRoot } from 'react-dom/client';
import { chosenUser, logIn } from '@warren/example-common/page';
import { Customer } from './customer.js';
import { Office } from './office.js';

const user = chosenUser([
  { title: 'The office', query: 'as=office' },
  { title: 'Anna’s phone', query: 'as=anna&device=phone' },
  { title: 'Anna’s laptop', query: 'as=anna&device=laptop' },
]);
if (user !== undefined) {
  const login = await logIn(user);
  // Two devices in one browser, for the page that shows them beside each other; else each browser is one.
  const deviceId = new URLSearchParams(location.search).get('device') ?? undefined;
  createRoot(document.body).render(
    user === 'office' ? <Office login={login} /> : <Customer login={login} deviceId={deviceId} />,
  );
}
