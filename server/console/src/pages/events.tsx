import { Chip, Group, Stack, TextInput, Title } from '@mantine/core';
import { useMemo, useState } from 'react';
import {
  FeedControls,
  FeedRow,
  FeedTable,
  Missed,
  SHOWN,
  type FeedRowProps,
} from '../components/feed.js';
import { Empty } from '../components/states.js';
import type { LiveEvent } from '../data/live.js';
import { useEvents } from '../data/session.js';

const KINDS = ['user', 'session', 'message'];
const BAD = new Set(['message.failed', 'message.push_failed', 'message.refused']);

export function EventsPage() {
  const [kinds, setKinds] = useState(KINDS);
  const [filter, setFilter] = useState('');
  const [isPaused, setPaused] = useState(false);
  const want = useMemo(() => ({ events: kinds.map((kind) => `${kind}.#`) }), [kinds]);
  const { events, missed, clear } = useEvents(want, { isPaused });
  const wanted = filter.trim().toLowerCase();
  const shown = events.filter(
    ({ event }) =>
      kinds.some((kind) => event.event.startsWith(`${kind}.`)) &&
      (wanted === '' || JSON.stringify(event).toLowerCase().includes(wanted)),
  );
  return (
    <Stack>
      <Title order={2} size="h3">
        Events
      </Title>
      <Group justify="space-between">
        <Group gap="sm">
          <Chip.Group multiple value={kinds} onChange={setKinds}>
            {KINDS.map((kind) => (
              <Chip key={kind} value={kind} size="xs" variant="outline">
                {kind}
              </Chip>
            ))}
          </Chip.Group>
          <TextInput
            size="xs"
            placeholder="holds this text"
            aria-label="Only events that hold this text"
            value={filter}
            onChange={(event) => {
              setFilter(event.currentTarget.value);
            }}
          />
        </Group>
        <FeedControls isPaused={isPaused} onPause={setPaused} onClear={clear} />
      </Group>
      <Missed count={missed} />
      {shown.length === 0 ? (
        <Empty title={isPaused ? 'Paused.' : 'Nothing has happened since you came.'}>
          Events are shown as they happen, the last 500 of them.
        </Empty>
      ) : (
        <FeedTable heads={['Time', 'Event', 'User', 'More']}>
          {shown.slice(0, SHOWN).map(({ number, event }) => (
            <FeedRow key={number} {...rowOf(event)} />
          ))}
        </FeedTable>
      )}
    </Stack>
  );
}

function rowOf(event: LiveEvent): FeedRowProps {
  const { user, messageId, ...rest } = event as Record<string, unknown> & {
    user?: string;
    messageId?: string | null;
  };
  const { id: _id, event: _event, at: _at, ...more } = rest;
  return {
    at: event.at,
    label: event.event,
    tone: BAD.has(event.event) ? 'bad' : 'good',
    user,
    messageId,
    detail: Object.values(more)
      .filter((value) => value !== null && value !== '')
      .map(String)
      .join(' · '),
  };
}
