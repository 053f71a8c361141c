import { Group, Stack, Text } from '@mantine/core';
import { useMemo, useState } from 'react';
import type { Trace } from '@warren/protocol';
import {
  FeedControls,
  FeedRow,
  FeedTable,
  Missed,
  SHOWN,
  type FeedRowProps,
} from '../components/feed.js';
import { Empty } from '../components/states.js';
import { bytes, millis } from '../components/text.js';
import type { LiveEvent } from '../data/live.js';
import { useEvents } from '../data/session.js';

const GOOD = new Set(['handled', 'message.delivered', 'message.read', 'user.online']);
const BAD = new Set(['rejected', 'message.failed', 'message.push_failed', 'session.revoked']);

/** What is sent to, delivered to and acked by one user, as it happens. */
export function UserWatch({ user }: { user: string }) {
  const [isPaused, setPaused] = useState(false);
  const want = useMemo(() => ({ watch: [user] }), [user]);
  const { events, missed, clear } = useEvents(want, { isPaused, most: 300 });
  return (
    <Stack>
      <Group justify="space-between">
        <Text size="sm" c="dimmed" maw={640}>
          Copies of the user&apos;s messages and what its devices say of them, while this page is
          open. It is written into the audit log.
        </Text>
        <FeedControls isPaused={isPaused} onPause={setPaused} onClear={clear} />
      </Group>
      <Missed count={missed} />
      {events.length === 0 ? (
        <Empty title="Nothing has come by yet." />
      ) : (
        <FeedTable heads={['Time', 'What', 'Type', 'More']}>
          {events
            .filter(({ event }) => 'user' in event && event.user === user)
            .slice(0, SHOWN)
            .map(({ number, event }) => (
              <FeedRow key={number} {...rowOf(event)} />
            ))}
        </FeedTable>
      )}
    </Stack>
  );
}

function rowOf(event: LiveEvent): FeedRowProps {
  const label = event.event === 'trace' ? event.step : event.event;
  return {
    at: event.at,
    label,
    tone: BAD.has(label) ? 'bad' : GOOD.has(label) ? 'good' : 'plain',
    messageId: 'messageId' in event ? event.messageId : undefined,
    type: 'type' in event ? event.type : undefined,
    detail: event.event === 'trace' ? detailOf(event) : restOf(event),
  };
}

function detailOf({ step, routingKey, size, preview, deviceId, tookMs, error }: Trace): string {
  if (step === 'sent') {
    return `by ${routingKey ?? 'nobody knows'}, ${bytes(size ?? 0)}: ${preview ?? '(not text)'}`;
  }
  const took = tookMs === undefined ? '' : ` in ${millis(tookMs)}`;
  return `${deviceId ?? 'a device'}${took}${error === undefined ? '' : `: ${error}`}`;
}

function restOf(event: LiveEvent): string {
  const { outcome, reason, deviceId } = event as {
    outcome?: string;
    reason?: string;
    deviceId?: string | null;
  };
  return [outcome, reason, deviceId].filter(Boolean).join(' · ');
}
