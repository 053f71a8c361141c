import { Button, Group, Stack, Table, Tabs, Text, TextInput, Title } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useLocation } from 'wouter';
import type { GroupState, MembersPage } from '@warren/protocol';
import { Action } from '../components/confirm.js';
import { Listing } from '../components/listing.js';
import { SendForm } from '../components/send.js';
import { Empty, Failure, Loading } from '../components/states.js';
import { number, Time, UserLink } from '../components/text.js';
import { pathOf } from '../data/api.js';
import { useSession } from '../data/session.js';

export function GroupPage({ group }: { group: string }) {
  const { api } = useSession();
  const [, navigate] = useLocation();
  const path = `groups/${pathOf(group)}`;
  const state = useQuery({
    queryKey: ['group', group],
    queryFn: ({ signal }) => api.get<GroupState>(path, signal),
  });
  if (state.isPending) return <Loading what="the group" />;
  if (state.isError) return <Failure error={state.error} onRetry={() => void state.refetch()} />;
  const { members, createdAt, history } = state.data;
  return (
    <Stack>
      <Group justify="space-between">
        <Title order={2} size="h3" className="id">
          {group}
        </Title>
        <Action
          label="Delete group"
          question={`The group and its history are deleted, for good. Its ${number(members)} members stay users.`}
          phrase={group}
          act={() => api.call('DELETE', path)}
          done={() => 'The group is deleted.'}
          onDone={() => {
            navigate('/groups');
          }}
          isDangerous
        />
      </Group>
      <Text size="sm" c="dimmed">
        {number(members)} members, since <Time at={createdAt} />. New members see{' '}
        {history === 'all' ? 'all of its history' : 'what was sent since they joined'}.
      </Text>
      <Tabs defaultValue="members" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="members">Members</Tabs.Tab>
          <Tabs.Tab value="send">Send</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="members" pt="md">
          <Members path={path} />
        </Tabs.Panel>
        <Tabs.Panel value="send" pt="md">
          <SendForm to={{ group }} label={`Send to ${number(members)}`} />
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

function Members({ path }: { path: string }) {
  const { api } = useSession();
  return (
    <Stack>
      <AddMember path={path} />
      <Listing
        path={`${path}/members`}
        query={{ limit: 50 }}
        items={({ members }: MembersPage) => members}
        what="members"
        empty={<Empty title="Nobody is in it." />}
      >
        {(members) => (
          <Table>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>User</Table.Th>
                <Table.Th>Since</Table.Th>
                <Table.Th>
                  <span className="skip">Actions</span>
                </Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {members.map(({ user, joinedAt }) => (
                <Table.Tr key={user}>
                  <Table.Td>
                    <UserLink user={user} />
                  </Table.Td>
                  <Table.Td>
                    <Time at={joinedAt} />
                  </Table.Td>
                  <Table.Td>
                    <Group justify="flex-end">
                      <Action
                        label="Take out"
                        question={`${user} gets nothing more that is sent to this group.`}
                        act={() => api.call('DELETE', `${path}/members/${pathOf(user)}`)}
                        done={() => 'The user is no member any more.'}
                      />
                    </Group>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        )}
      </Listing>
    </Stack>
  );
}

function AddMember({ path }: { path: string }) {
  const { api, isOperator } = useSession();
  const queries = useQueryClient();
  const [user, setUser] = useState('');
  const add = useMutation({
    mutationFn: () => api.call('PUT', `${path}/members/${pathOf(user.trim())}`, {}),
    onSuccess: async () => {
      setUser('');
      await queries.invalidateQueries();
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        add.mutate();
      }}
    >
      <Group align="flex-end">
        <TextInput
          label="Add a user"
          placeholder="its id"
          value={user}
          onChange={(event) => {
            setUser(event.currentTarget.value);
          }}
        />
        <Button
          type="submit"
          variant="default"
          loading={add.isPending}
          disabled={!isOperator || user.trim() === ''}
        >
          Add
        </Button>
      </Group>
      {add.isError && <Failure error={add.error} />}
    </form>
  );
}
