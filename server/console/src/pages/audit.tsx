import { Badge, Stack, Table, Text, Title } from '@mantine/core';
import type { AuditReply } from '@warren/protocol';
import { Listing } from '../components/listing.js';
import { Empty } from '../components/states.js';
import { Time } from '../components/text.js';

export function AuditPage() {
  return (
    <Stack>
      <Title order={2} size="h3">
        Audit log
      </Title>
      <Listing
        path="audit"
        items={({ entries }: AuditReply) => entries}
        what="the audit log"
        empty={<Empty title="Nobody has done anything yet." />}
        refetchMs={10_000}
      >
        {(entries) => (
          <Table.ScrollContainer minWidth={560}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>When</Table.Th>
                  <Table.Th>Who</Table.Th>
                  <Table.Th>What</Table.Th>
                  <Table.Th>To what</Table.Th>
                  <Table.Th>Result</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {entries.map(({ id, at, actor, action, target, result }) => (
                  <Table.Tr key={id}>
                    <Table.Td>
                      <Time at={at} />
                    </Table.Td>
                    <Table.Td className="id">{actor}</Table.Td>
                    <Table.Td>{action}</Table.Td>
                    <Table.Td className="id">{target}</Table.Td>
                    <Table.Td>
                      {result === null ? (
                        <Text size="sm" c="dimmed">
                          not known
                        </Text>
                      ) : (
                        <Badge variant="light" color={result === 'done' ? 'green' : 'red'}>
                          {result}
                        </Badge>
                      )}
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </Listing>
    </Stack>
  );
}
