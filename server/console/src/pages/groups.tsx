import { Anchor, Stack, Table, Title } from '@mantine/core';
import { Link } from 'wouter';
import type { AdminGroupsReply } from '@warren/protocol';
import { Listing, nothing, Search } from '../components/listing.js';
import { number, Time } from '../components/text.js';
import { pathOf } from '../data/api.js';

export function GroupsPage() {
  return (
    <Stack>
      <Title order={2} size="h3">
        Groups
      </Title>
      <Search label="A part of a group's id">
        {(search) => (
          <Listing
            path="groups"
            query={{ search }}
            items={({ groups }: AdminGroupsReply) => groups}
            what="groups"
            empty={nothing('groups', search)}
          >
            {(groups) => (
              <Table.ScrollContainer minWidth={320}>
                <Table highlightOnHover>
                  <Table.Thead>
                    <Table.Tr>
                      <Table.Th>Group</Table.Th>
                      <Table.Th>Members</Table.Th>
                      <Table.Th>Since</Table.Th>
                    </Table.Tr>
                  </Table.Thead>
                  <Table.Tbody>
                    {groups.map(({ groupId, members, hasMoreMembers, createdAt }) => (
                      <Table.Tr key={groupId}>
                        <Table.Td>
                          <Anchor
                            component={Link}
                            href={`/groups/${pathOf(groupId)}`}
                            className="id"
                          >
                            {groupId}
                          </Anchor>
                        </Table.Td>
                        <Table.Td className="figure">
                          {number(members)}
                          {hasMoreMembers && '+'}
                        </Table.Td>
                        <Table.Td>
                          <Time at={createdAt} />
                        </Table.Td>
                      </Table.Tr>
                    ))}
                  </Table.Tbody>
                </Table>
              </Table.ScrollContainer>
            )}
          </Listing>
        )}
      </Search>
    </Stack>
  );
}
