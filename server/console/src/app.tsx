import { MantineProvider } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useState } from 'react';
import { Router } from 'wouter';
import { useHashLocation } from 'wouter/use-hash-location';
import type { AdminToken } from '@warren/protocol';
import { ApiError } from './data/api.js';
import { keepToken, readToken, SessionProvider } from './data/session.js';
import { SignIn } from './pages/sign-in.js';
import { Shell } from './shell.js';
import { nonce, theme } from './theme.js';

export function App() {
  const [token, setToken] = useState(readToken);
  const [queries] = useState(makeQueries);
  const change = (next: AdminToken | undefined): void => {
    keepToken(next);
    queries.clear();
    setToken(next);
  };
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={nonce}>
      <Notifications position="bottom-right" />
      <QueryClientProvider client={queries}>
        {token === undefined ? (
          <SignIn onSignedIn={change} />
        ) : (
          <SessionProvider
            key={token.token}
            token={token}
            onSignOut={() => {
              change(undefined);
            }}
          >
            <Router hook={useHashLocation}>
              <Shell />
            </Router>
          </SessionProvider>
        )}
      </QueryClientProvider>
    </MantineProvider>
  );
}

const makeQueries = (): QueryClient =>
  new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 2000,
        // What is refused is refused again.
        retry: (count, error) =>
          count < 2 && (!(error instanceof ApiError) || error.status === 0 || error.status >= 500),
      },
    },
  });
