import { Card, Group, Text } from '@mantine/core';
import type { HistoryItem } from '@warren/protocol';
import { Listing } from '../components/listing.js';
import { Empty } from '../components/states.js';
import { MessageLink, Payload, Time } from '../components/text.js';

interface Reply {
  items: HistoryItem[];
  next?: string;
}

/** Stored messages that the user sees, the newest first. */
export function UserHistory({ user }: { user: string }) {
  return (
    <Listing
      path="history"
      query={{ user, limit: 20 }}
      cursor="before"
      items={({ items }: Reply) => items}
      what="the history"
      empty={
        <Empty title="The history has nothing for this user.">
          Only messages with the delivery “stored” are kept.
        </Empty>
      }
    >
      {(items) =>
        items.map(({ id, type, at, from, data }) => (
          <Card withBorder padding="sm" key={id}>
            <Group justify="space-between" mb="xs">
              <Group gap="sm">
                <Text size="sm" fw={600}>
                  {type}
                </Text>
                {from !== undefined && (
                  <Text size="sm" c="dimmed" className="id">
                    from {from}
                  </Text>
                )}
              </Group>
              <Time at={at} />
            </Group>
            <Payload text={JSON.stringify(data)} />
            <MessageLink id={id} />
          </Card>
        ))
      }
    </Listing>
  );
}
