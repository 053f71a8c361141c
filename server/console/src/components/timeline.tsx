import { Badge, Group, Stack, Text, Timeline } from '@mantine/core';
import type { TimelineEntry, TimelineKind } from '@warren/protocol';
import { MessageLink, Time } from './text.js';

const COLORS: Partial<Record<TimelineKind, string>> = {
  connected: 'green',
  disconnected: 'gray',
  too_many_connections: 'orange',
  delivered: 'green',
  read: 'teal',
  pushed: 'grape',
  sent: 'blue',
  failed: 'red',
  unreachable: 'red',
  handler_failed: 'red',
  dead_letter: 'orange',
  mailbox_lost: 'red',
  session_ended: 'orange',
  push_failed: 'red',
  omitted: 'orange',
};

const isTrouble = ({ kind, outcome, reason }: TimelineEntry): boolean =>
  (outcome !== 'superseded' &&
    [
      'failed',
      'unreachable',
      'handler_failed',
      'dead_letter',
      'mailbox_lost',
      'push_failed',
    ].includes(kind)) ||
  (kind === 'session_ended' && reason !== undefined);

const copyOf = ({ user, messageId }: TimelineEntry): string => `${user} ${messageId ?? ''}`;

/** That there was no push is no trouble when the message has arrived all the same. */
export function troublesOf(entries: TimelineEntry[]): TimelineEntry[] {
  const arrived = new Set(entries.filter(({ kind }) => kind === 'delivered').map(copyOf));
  return entries.filter(
    (entry) => isTrouble(entry) && (entry.kind !== 'push_failed' || !arrived.has(copyOf(entry))),
  );
}

/** What happened, in words. */
export function Happenings({ entries }: { entries: TimelineEntry[] }) {
  return (
    <Timeline bulletSize={14} lineWidth={2} active={entries.length}>
      {entries.map((entry, index) => (
        <Timeline.Item
          key={`${entry.at}${entry.kind}${String(index)}`}
          color={COLORS[entry.kind] ?? 'gray'}
        >
          <Stack gap={2}>
            <Group gap="xs">
              <Time at={entry.at} />
              <Badge size="sm" variant="light" color={COLORS[entry.kind] ?? 'gray'}>
                {entry.kind.replaceAll('_', ' ')}
              </Badge>
            </Group>
            <Text size="sm">{entry.summary}</Text>
            {entry.messageId !== undefined && <MessageLink id={entry.messageId} />}
          </Stack>
        </Timeline.Item>
      ))}
    </Timeline>
  );
}
