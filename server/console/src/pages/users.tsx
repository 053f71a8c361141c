import { Stack, Table, Title } from '@mantine/core';
import type { AdminUsersReply } from '@warren/protocol';
import { Listing, nothing, Search } from '../components/listing.js';
import { OnlineBadge, Time, UserLink } from '../components/text.js';

export function UsersPage() {
  return (
    <Stack>
      <Title order={2} size="h3">
        Users
      </Title>
      <Search label="A part of a user's id">
        {(search) => (
          <Listing
            path="users"
            query={{ search }}
            items={({ users }: AdminUsersReply) => users}
            what="users"
            empty={nothing('users', search)}
            refetchMs={10_000}
          >
            {(users) => (
              <Table.ScrollContainer minWidth={340}>
                <Table highlightOnHover>
                  <Table.Thead>
                    <Table.Tr>
                      <Table.Th>User</Table.Th>
                      <Table.Th>Now</Table.Th>
                      <Table.Th>Devices</Table.Th>
                      <Table.Th>Last seen</Table.Th>
                    </Table.Tr>
                  </Table.Thead>
                  <Table.Tbody>
                    {users.map(({ user, online, devices, lastSeenAt }) => (
                      <Table.Tr key={user}>
                        <Table.Td>
                          <UserLink user={user} />
                        </Table.Td>
                        <Table.Td>
                          <OnlineBadge online={online} />
                        </Table.Td>
                        <Table.Td className="figure">{devices}</Table.Td>
                        <Table.Td>
                          <Time at={lastSeenAt} />
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
