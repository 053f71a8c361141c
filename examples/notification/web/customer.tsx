import { useMemo, useSyncExternalStore } from 'react';
import type { Client } from '@warren/client';
import { useClient, useConnection } from '@warren/client/react';
import type { Login } from '@warren/example-common/page';
import type { NotificationEvents } from '../src/events.js';
import { Banners } from './banners.js';

interface CustomerProps {
  login: Login;
  deviceId: string | undefined;
}

export function Customer({ login: { user, getToken }, deviceId }: CustomerProps) {
  const client = useClient<NotificationEvents>({
    apiUrl: location.origin,
    userId: user,
    ...(deviceId !== undefined && { deviceId }),
    getToken,
  });
  const { receiving } = useConnection(client);
  return (
    <>
      {client !== null && <TopBanners client={client} />}
      <main className="app">
        <h1>The shop</h1>
        <p>
          {user}
          {deviceId !== undefined && ` on the ${deviceId}`}
        </p>
        <p className="soft">{receiving ? 'Connected' : 'No connection'}</p>
      </main>
    </>
  );
}

function TopBanners({ client }: { client: Client<NotificationEvents> }) {
  const banners = useMemo(() => new Banners(client), [client]);
  const shown = useSyncExternalStore(banners.subscribe, banners.getShown);
  return (
    <ul className="banners" role="status" aria-label="Notifications">
      {shown.map(({ id, title, text }) => (
        <li key={id}>
          <b>{title}</b>
          <span>{text}</span>
          <button
            aria-label={`Dismiss: ${text}`}
            onClick={() => {
              banners.dismiss(id);
            }}
          >
            Got it
          </button>
        </li>
      ))}
    </ul>
  );
}
