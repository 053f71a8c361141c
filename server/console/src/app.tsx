import { MantineProvider } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useRef, useState } from 'react';
import { Router } from 'wouter';
import { useHashLocation } from 'wouter/use-hash-location';
import type { AdminToken } from '@warren/protocol';
import { ApiError } from './data/api.js';
import { keepToken, readSignIn, SessionProvider } from './data/session.js';
import { SignIn } from './pages/sign-in.js';
import { Shell } from './shell.js';
import { nonce, theme } from './theme.js';

export function App() {
  const [{ token, hasEnded }, setSignIn] = useState(readSignIn);
  const [queries] = useState(makeQueries);
  const current = useRef(token?.token);
  const change = (next: AdminToken | undefined, isEnd = false): void => {
    current.current = next?.token;
    keepToken(next);
    queries.clear();
    setSignIn({ token: next, hasEnded: isEnd });
  };
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={nonce}>
      <Notifications position="bottom-right" />
      <QueryClientProvider client={queries}>
        {token === undefined ? (
          <SignIn
            hasEnded={hasEnded}
            onSignedIn={(next) => {
              change(next);
            }}
          />
        ) : (
          <SessionProvider
            key={token.token}
            token={token}
            onSignOut={() => {
              change(undefined);
            }}
            onEnded={() => {
              // Late answers to an older token say nothing of the one in use.
              if (current.current === token.token) change(undefined, true);
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
