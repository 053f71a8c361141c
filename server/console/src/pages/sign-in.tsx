import { Alert, Button, Center, Paper, PasswordInput, Stack, Text, Title } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import type { AdminToken } from '@warren/protocol';
import { Failure } from '../components/states.js';
import { ApiError, signIn } from '../data/api.js';

export function SignIn({
  hasEnded,
  onSignedIn,
}: {
  /** Whether somebody was signed in until now. */
  hasEnded: boolean;
  onSignedIn: (token: AdminToken) => void;
}) {
  const [secret, setSecret] = useState('');
  const attempt = useMutation({ mutationFn: signIn, onSuccess: onSignedIn });
  return (
    <Center component="main" mih="100vh" p="md">
      <Paper withBorder p="xl" w="min(420px, 100%)">
        <form
          onSubmit={(event) => {
            event.preventDefault();
            attempt.mutate(secret.trim());
          }}
        >
          <Stack>
            <Title order={1} size="h3">
              Warren console
            </Title>
            {hasEnded && (
              <Alert color="yellow" variant="light" title="Your sign-in has ended" role="alert">
                It lasts for twelve hours, and no longer than the JWT or the admin key behind it.
                Sign in again to go on.
              </Alert>
            )}
            <Text size="sm" c="dimmed">
              Sign in with an admin key (one of WARREN_ADMIN_KEYS; after npm start it is the
              adminKey in dev.json), or with a JWT of your application that names a role.
            </Text>
            <PasswordInput
              label="Admin key or JWT"
              value={secret}
              onChange={(event) => {
                setSecret(event.currentTarget.value);
              }}
              autoComplete="off"
              autoFocus
              required
            />
            {attempt.isError && <Failure error={explain(attempt.error)} />}
            <Button type="submit" disabled={secret.trim() === ''} loading={attempt.isPending}>
              Sign in
            </Button>
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}

function explain(error: Error): Error {
  if (!(error instanceof ApiError)) return error;
  if (error.code === 'token_invalid' || error.code === 'token_missing')
    return new Error('That is no admin key, and no JWT that is known here.');
  if (error.code === 'role_required') return new Error('That user has no role in the console.');
  return error;
}
