import { Stack, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { Audience } from '@warren/protocol';
import { Action } from '../components/confirm.js';
import { SendForm } from '../components/send.js';
import { Failure, Loading } from '../components/states.js';
import { number } from '../components/text.js';
import { useSession } from '../data/session.js';

export function BroadcastPage() {
  const { api } = useSession();
  const audience = useQuery({
    queryKey: ['audience'],
    queryFn: ({ signal }) => api.get<Audience>('audience', signal),
    refetchInterval: 10_000,
  });
  if (audience.isPending) return <Loading what="how many it would reach" />;
  if (audience.isError) return <Failure error={audience.error} />;
  const { users, devices, online } = audience.data;
  return (
    <Stack>
      <Title order={2} size="h3">
        Broadcast
      </Title>
      <Text size="sm" maw={640}>
        To everybody: <b>{number(users)} users</b> with {number(devices)} devices, of which{' '}
        {number(online)} are connected now.
      </Text>
      <SendForm
        to={{ broadcast: true }}
        confirm={(send) => (
          <Action
            label={`Send to ${number(users)} users`}
            question={`This goes to all ${number(users)} users, at once, and cannot be taken back.`}
            phrase={String(users)}
            act={send}
            done={() => 'The broker has it.'}
            isDangerous
            disabled={users === 0}
          />
        )}
      />
    </Stack>
  );
}
