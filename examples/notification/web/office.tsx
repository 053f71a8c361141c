import { useEffect, useState } from 'react';
import type { Login } from '@warren/example-common/page';
import type { Sent } from '../src/events.js';

const POLL_MS = 1000;

/** Where something happens, and where one sees what became of each notification. */
export function Office({ login: { call } }: { login: Login }) {
  const [sent, setSent] = useState<Sent[]>([]);
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    const look = (): void => {
      call<Sent[]>('GET', 'sent').then(setSent, () => undefined);
    };
    look();
    const timer = setInterval(look, POLL_MS);
    return () => {
      clearInterval(timer);
    };
  }, [call]);
  const ship = (customer: string): void => {
    call('POST', `orders/${customer}/ship`).then(
      () => {
        setProblem(undefined);
      },
      () => {
        setProblem('Not sent: the server or the broker is away. Try again.');
      },
    );
  };
  return (
    <main className="app office">
      <h1>The office</h1>
      <p>
        {['anna', 'ben'].map((customer) => (
          <button
            key={customer}
            className="primary"
            onClick={() => {
              ship(customer);
            }}
          >
            Ship {customer}’s order
          </button>
        ))}
      </p>
      {problem !== undefined && <p role="alert">{problem}</p>}
      <ol aria-label="Sent">
        {sent.map(({ id, user, text, outcome }) => (
          <li key={id}>
            <span>
              <b>{user}</b>: {text}
            </span>
            <span className="outcome" data-outcome={outcome}>
              {outcome}
            </span>
          </li>
        ))}
      </ol>
    </main>
  );
}
