import { Alert, Badge, Button, Card, Group, Stack, Text, TextInput, Title } from '@mantine/core';
import { useState } from 'react';
import { useLocation } from 'wouter';
import type { AdminMessage, MessageOutcome } from '@warren/protocol';
import { Listing } from '../components/listing.js';
import { Empty } from '../components/states.js';
import { OutcomeBadge, Payload, Time, UserLink } from '../components/text.js';
import { Happenings, troublesOf } from '../components/timeline.js';
import { pathOf } from '../data/api.js';

export function MessageSearchPage() {
  const [, navigate] = useLocation();
  const [id, setId] = useState('');
  return (
    <Stack>
      <Title order={2} size="h3">
        Messages
      </Title>
      <Text size="sm" c="dimmed" maw={640}>
        The life of a message, by the id that its sender got or gave. Of a tracked one each step is
        known; of others what went wrong.
      </Text>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (id.trim() !== '') navigate(`/messages/${pathOf(id.trim())}`);
        }}
      >
        <Group align="flex-end">
          <TextInput
            label="Message id"
            value={id}
            w="min(420px, 100%)"
            onChange={(event) => {
              setId(event.currentTarget.value);
            }}
          />
          <Button type="submit" disabled={id.trim() === ''}>
            Look
          </Button>
        </Group>
      </form>
    </Stack>
  );
}

export function MessagePage({ id }: { id: string }) {
  return (
    <Stack>
      <Title order={2} size="h3">
        Message
      </Title>
      <Text className="id">{id}</Text>
      <Listing
        path={`messages/${pathOf(id)}`}
        items={(reply: AdminMessage) => [reply]}
        what="what is known"
        empty={<Empty title="Nothing is known of it." />}
        refetchMs={5000}
      >
        {(pages, first) => (
          <Life message={first} recipients={pages.flatMap((page) => page.recipients)} />
        )}
      </Listing>
    </Stack>
  );
}

function Life({
  message,
  recipients,
}: {
  message: AdminMessage;
  recipients: AdminMessage['recipients'];
}) {
  const { type, createdAt, expiresAt, to, from, tracked, stored, confirmed, counts, events } =
    message;
  const [trouble] = [
    ...recipients.flatMap(({ steps }) => troublesOf(steps)),
    ...troublesOf(events),
  ];
  return (
    <Stack>
      <Group gap="sm">
        {type !== undefined && (
          // As it is: a type is an identifier, and badges are in capitals.
          <Badge variant="outline" tt="none">
            {type}
          </Badge>
        )}
        {tracked ? (
          <Badge variant="light">tracked</Badge>
        ) : (
          <Badge variant="light" color="gray">
            not tracked
          </Badge>
        )}
        {stored && (
          <Badge variant="light" color="blue">
            in the history
          </Badge>
        )}
        {confirmed === false && (
          <Badge variant="light" color="red">
            not confirmed by the broker
          </Badge>
        )}
      </Group>
      <Group gap="lg">
        {createdAt !== undefined && (
          <Text size="sm">
            sent <Time at={createdAt} />
          </Text>
        )}
        {expiresAt !== undefined && (
          <Text size="sm">
            waits until <Time at={expiresAt} />
          </Text>
        )}
        {from !== undefined && (
          <Text size="sm">
            from <UserLink user={from} />
          </Text>
        )}
      </Group>
      {to !== undefined && <Payload text={JSON.stringify(to)} />}
      {trouble !== undefined && (
        <Alert color="orange" variant="light" title="Why it did not arrive">
          <Text size="sm">{trouble.summary}</Text>
        </Alert>
      )}
      {!tracked && events.length === 0 && (
        <Text size="sm" c="dimmed">
          Nothing has gone wrong that anybody has heard of. Send with track: true to know what
          becomes of a message.
        </Text>
      )}
      <Group gap="xs">
        {Object.entries(counts).map(([outcome, count]) => (
          <Group key={outcome} gap={4}>
            <Text size="sm" className="figure">
              {count.toLocaleString('en')}
            </Text>
            <OutcomeBadge outcome={outcome as MessageOutcome} />
          </Group>
        ))}
      </Group>
      {recipients.map(({ user, outcome, steps, pushes }) => (
        <Card withBorder padding="sm" key={user}>
          <Group justify="space-between" mb="sm">
            <UserLink user={user} />
            <OutcomeBadge outcome={outcome} />
          </Group>
          <Happenings entries={steps} />
          {pushes.map(({ deviceId, provider, state, reason }) => (
            <Text size="sm" key={deviceId} mt="xs">
              Push to <span className="id">{deviceId}</span> by {provider}:{' '}
              {state.replace('_', ' ')}
              {reason !== undefined && ` (${reason})`}
            </Text>
          ))}
        </Card>
      ))}
      {events.length > 0 && (
        <>
          <Title order={3} size="h5">
            What else is known
          </Title>
          <Happenings entries={events} />
        </>
      )}
    </Stack>
  );
}
