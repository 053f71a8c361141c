import { Anchor, Badge, Group, Stack, Table, Tabs, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useLocation } from 'wouter';
import type { AdminUser, PurgeReply } from '@warren/protocol';
import { Action } from '../components/confirm.js';
import { SendForm } from '../components/send.js';
import { Empty, Failure, Loading } from '../components/states.js';
import { OnlineBadge, Time } from '../components/text.js';
import { ApiError, pathOf } from '../data/api.js';
import { useSession } from '../data/session.js';
import { UserHistory } from './user-history.js';
import { UserTimeline } from './user-timeline.js';
import { UserWatch } from './user-watch.js';

export function UserPage({ user }: { user: string }) {
  const { api } = useSession();
  const path = `users/${pathOf(user)}`;
  const state = useQuery({
    queryKey: ['user', user],
    queryFn: ({ signal }) => api.get<AdminUser>(path, signal),
    refetchInterval: 5000,
  });
  const isUnknown = state.error instanceof ApiError && state.error.code === 'user_unknown';
  return (
    <Stack>
      <Group justify="space-between">
        <Group gap="sm">
          <Title order={2} size="h3" className="id">
            {user}
          </Title>
          {state.data !== undefined && <OnlineBadge online={state.data.online} />}
          {isUnknown && (
            <Badge color="gray" variant="outline">
              not provisioned
            </Badge>
          )}
        </Group>
        <Actions user={user} isUnknown={isUnknown} />
      </Group>
      <Tabs defaultValue="timeline" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="timeline">Timeline</Tabs.Tab>
          <Tabs.Tab value="devices">Devices</Tabs.Tab>
          <Tabs.Tab value="watch">Watch</Tabs.Tab>
          <Tabs.Tab value="history">History</Tabs.Tab>
          <Tabs.Tab value="send">Send</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="timeline" pt="md">
          <UserTimeline user={user} />
        </Tabs.Panel>
        <Tabs.Panel value="devices" pt="md">
          {state.isPending && <Loading what="devices" />}
          {isUnknown && <Empty title="This user has no devices." />}
          {state.isError && !isUnknown && <Failure error={state.error} />}
          {state.data !== undefined && <Devices state={state.data} />}
        </Tabs.Panel>
        <Tabs.Panel value="watch" pt="md">
          <UserWatch user={user} />
        </Tabs.Panel>
        <Tabs.Panel value="history" pt="md">
          <UserHistory user={user} />
        </Tabs.Panel>
        <Tabs.Panel value="send" pt="md">
          <SendForm to={{ user }} />
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

function Actions({ user, isUnknown }: { user: string; isUnknown: boolean }) {
  const { api } = useSession();
  const [, navigate] = useLocation();
  const path = `users/${pathOf(user)}`;
  return (
    <Group gap="xs">
      <Action
        label="Disconnect"
        question="Its connections are closed; the apps come back by themselves."
        act={() => api.call('POST', `${path}/disconnect`, {})}
        done={() => 'The connections are closed.'}
        disabled={isUnknown}
      />
      <Action
        label="Purge"
        question="Everything that waits in the user's mailboxes is thrown away, for good. What a device has in hand is not."
        act={() => api.call<PurgeReply>('POST', `${path}/purge`, {})}
        done={({ purged }) => `${String(purged)} messages were thrown away.`}
        isDangerous
        disabled={isUnknown}
      />
      <Action
        label="Revoke"
        question="Cut off now: mailboxes deleted with what waits in them, connections closed, tokens of before refused. The user can log in again."
        act={() => api.call('POST', `${path}/revoke`, {})}
        done={() => 'The user is cut off.'}
        isDangerous
      />
      <Action
        label="Remove"
        question="The user, its mailboxes with what waits in them, and what only it sees of the history are deleted, for good."
        phrase={user}
        act={() => api.call('DELETE', path)}
        done={() => 'The user is removed.'}
        onDone={() => {
          navigate('/users');
        }}
        isDangerous
        disabled={isUnknown}
      />
    </Group>
  );
}

function Devices({ state: { userId, devices, groups, pushDevices } }: { state: AdminUser }) {
  const { api } = useSession();
  const path = `users/${pathOf(userId)}`;
  return (
    <Stack>
      <Table.ScrollContainer minWidth={560}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Device</Table.Th>
              <Table.Th>Now</Table.Th>
              <Table.Th>Waiting</Table.Th>
              <Table.Th>Last seen</Table.Th>
              <Table.Th>
                <span className="skip">Actions</span>
              </Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {devices.map(({ deviceId, queue, online, depth, lastSeenAt }) => (
              <Table.Tr key={queue}>
                <Table.Td>
                  <Text size="sm" className="id">
                    {deviceId ?? 'waits for the first device'}
                  </Text>
                  <Text size="xs" c="dimmed" className="id">
                    {queue}
                  </Text>
                </Table.Td>
                <Table.Td>
                  <OnlineBadge online={online} />
                </Table.Td>
                <Table.Td className="figure">{depth ?? 'queue gone'}</Table.Td>
                <Table.Td>
                  <Time at={lastSeenAt} />
                </Table.Td>
                <Table.Td>
                  {deviceId !== null && (
                    <Group gap={4} justify="flex-end">
                      <Action
                        label="Disconnect device"
                        question={`The connections of ${deviceId} are closed; it comes back by itself.`}
                        act={() => api.call('POST', `${path}/disconnect`, { deviceId })}
                        done={() => 'Its connections are closed.'}
                      />
                      <Action
                        label="Revoke device"
                        question={`${deviceId} is cut off, and its mailbox deleted with what waits in it.`}
                        act={() => api.call('POST', `${path}/revoke`, { deviceId })}
                        done={() => 'The device is cut off.'}
                        isDangerous
                      />
                    </Group>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
      <Title order={3} size="h5">
        Push devices
      </Title>
      {pushDevices.length === 0 ? (
        <Text size="sm" c="dimmed">
          None: this user gets no pushes.
        </Text>
      ) : (
        pushDevices.map(({ deviceId, provider, language, updatedAt }) => (
          <Group key={deviceId} gap="sm">
            <Text size="sm" className="id">
              {deviceId}
            </Text>
            <Badge variant="light" color="grape">
              {provider}
            </Badge>
            {language !== undefined && <Text size="sm">{language}</Text>}
            <Time at={updatedAt} />
          </Group>
        ))
      )}
      <Title order={3} size="h5">
        Groups
      </Title>
      {groups.length === 0 ? (
        <Text size="sm" c="dimmed">
          None.
        </Text>
      ) : (
        <Group gap="xs">
          {groups.map((group) => (
            <Anchor component={Link} key={group} href={`/groups/${pathOf(group)}`} className="id">
              {group}
            </Anchor>
          ))}
        </Group>
      )}
    </Stack>
  );
}
