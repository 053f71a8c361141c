import { Button, Group, Switch, Text } from '@mantine/core';
import { memo, type ReactNode } from 'react';
import { pathOf } from '../data/api.js';

/*
 * Rows that may come by the hundred each second: plain elements, since the library's own are too slow for
 * that, and each is drawn once.
 */

/** Nobody reads more of what runs by. */
export const SHOWN = 100;

export interface FeedRowProps {
  at: string;
  label: string;
  tone: 'good' | 'bad' | 'plain';
  user?: string | undefined;
  messageId?: string | null | undefined;
  /** Compared as text, so that a row is not drawn again. */
  detail: string;
  type?: string | undefined;
}

const clock = new Intl.DateTimeFormat([], {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});

export const FeedRow = memo(function FeedRow(props: FeedRowProps) {
  const { at, label, tone, user, messageId, detail, type } = props;
  return (
    <tr>
      <td>
        <time dateTime={at} title={at}>
          {clock.format(new Date(at))}
        </time>
      </td>
      <td>
        <span className={`tag tag-${tone}`}>{label}</span>
      </td>
      <td>
        {user !== undefined && (
          <a className="id" href={`#/users/${pathOf(user)}`}>
            {user}
          </a>
        )}
        {type !== undefined && <div>{type}</div>}
      </td>
      <td>
        <div className="id detail">{detail}</div>
        {typeof messageId === 'string' && (
          <a className="id" href={`#/messages/${pathOf(messageId)}`}>
            {messageId}
          </a>
        )}
      </td>
    </tr>
  );
});

export function FeedTable({ heads, children }: { heads: string[]; children: ReactNode }) {
  return (
    <div
      className="feed"
      tabIndex={0}
      role="region"
      aria-label="What has happened, the newest first"
    >
      <table>
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

export function FeedControls({
  isPaused,
  onPause,
  onClear,
}: {
  isPaused: boolean;
  onPause: (isPaused: boolean) => void;
  onClear: () => void;
}) {
  return (
    <Group gap="sm">
      <Switch
        label="Pause"
        checked={isPaused}
        onChange={(event) => {
          onPause(event.currentTarget.checked);
        }}
      />
      <Button size="xs" variant="default" onClick={onClear}>
        Clear
      </Button>
    </Group>
  );
}

/** What came in the same moment as more than could be kept. */
export function Missed({ count }: { count: number }) {
  if (count === 0) return null;
  return (
    <Text size="sm" className="warn">
      {count.toLocaleString('en')} came faster than they can be shown.
    </Text>
  );
}
