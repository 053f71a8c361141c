import { Anchor, Badge, Code, Text, Tooltip } from '@mantine/core';
import { Link } from 'wouter';
import type { MessageOutcome } from '@warren/protocol';
import { pathOf } from '../data/api.js';

/** A time of the server, in the reader's own zone. */
export function Time({ at }: { at: string | null | undefined }) {
  if (at === null || at === undefined) {
    return (
      <Text span c="dimmed" size="sm">
        never
      </Text>
    );
  }
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString([], {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hour12: false,
  });
  const text = isToday
    ? time
    : `${date.toLocaleDateString([], { day: 'numeric', month: 'short' })} ${time}`;
  return (
    <Tooltip label={at}>
      <Text span size="sm" className="figure">
        <time dateTime={at}>{text}</time>
      </Text>
    </Tooltip>
  );
}

export function UserLink({ user }: { user: string }) {
  return (
    <Anchor component={Link} href={`/users/${pathOf(user)}`} className="id">
      {user}
    </Anchor>
  );
}

export function MessageLink({ id }: { id: string }) {
  return (
    <Anchor component={Link} href={`/messages/${pathOf(id)}`} className="id" size="sm">
      {id}
    </Anchor>
  );
}

const COLORS: Partial<Record<MessageOutcome, string>> = {
  queued: 'blue',
  delivered: 'green',
  read: 'teal',
  pushed: 'grape',
};

export function OutcomeBadge({ outcome }: { outcome: MessageOutcome }) {
  return (
    <Badge color={COLORS[outcome] ?? 'red'} variant="light">
      {outcome.replaceAll('_', ' ')}
    </Badge>
  );
}

export function OnlineBadge({ online }: { online: boolean }) {
  return (
    <Badge color={online ? 'green' : 'gray'} variant={online ? 'light' : 'outline'}>
      {online ? 'online' : 'offline'}
    </Badge>
  );
}

/** Whatever an application has sent, as text and as nothing else. */
export function Payload({ text }: { text: string }) {
  return (
    <Code block className="payload">
      {pretty(text)}
    </Code>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), undefined, 2);
  } catch {
    return text;
  }
}

export function bytes(size: number): string {
  if (size < 1024) return `${String(size)} B`;
  if (size < 1024 * 1024) return `${(size / 1024).toFixed(1)} KB`;
  return `${(size / 1024 / 1024).toFixed(1)} MB`;
}

export function number(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  if (value >= 1000) return Math.round(value).toLocaleString('en');
  return value >= 10 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}

export function millis(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return value >= 10 ? `${String(Math.round(value))} ms` : `${value.toFixed(1)} ms`;
}
