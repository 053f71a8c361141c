import { Badge, Card, Group, SimpleGrid, Stack, Table, Text, Title } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { BrokerFigures } from '@warren/protocol';
import { Chart } from '../components/chart.js';
import { Empty, Loading } from '../components/states.js';
import { bytes, millis, number, Time } from '../components/text.js';
import { BASE } from '../data/api.js';
import { useLiveState, useStats } from '../data/session.js';
import type { Process } from '../data/stats.js';

export function OverviewPage() {
  const { figures, series, processes, broker } = useStats();
  const state = useLiveState();
  if (figures === undefined) {
    if (state !== 'disconnected') return <Loading what="the figures of this second" />;
    return (
      <Empty title="Not connected to the broker">
        Figures come by RabbitMQ itself, by Web-STOMP. The console goes on trying; everything that
        goes by the API works.
      </Empty>
    );
  }
  return (
    <Stack>
      <Title order={2} size="h3">
        Overview
      </Title>
      <SimpleGrid cols={{ base: 2, sm: 3, lg: 6 }} spacing="sm">
        <Figure label="Users online" value={number(figures.users)} />
        <Figure label="Devices online" value={number(figures.devices)} />
        <Figure label="Sent a second" value={number(figures.sent)} />
        <Figure label="Waiting" value={number(figures.waiting)} />
        <Figure label="Pushed a second" value={number(figures.pushed)} />
        <Figure
          label="Dead letters"
          value={number(figures.deadLetters)}
          isBad={(figures.deadLetters ?? 0) > 0}
        />
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="sm">
        <Chart
          title="Messages a second"
          format={number}
          at={series.at}
          lines={[
            { label: 'sent by servers', values: series.sent },
            { label: 'into the broker', values: series.published },
            { label: 'acked', values: series.acked },
          ]}
        />
        <Chart
          title="Publish to ack, tracked messages"
          format={millis}
          at={series.at}
          lines={[
            { label: 'p50', values: series.ackP50 },
            { label: 'p99', values: series.ackP99 },
          ]}
        />
        <Chart
          title="Publish to confirm"
          format={millis}
          at={series.at}
          lines={[
            { label: 'p50', values: series.confirmP50 },
            { label: 'p99', values: series.confirmP99 },
          ]}
        />
        <Chart
          title="Online"
          format={number}
          at={series.at}
          lines={[
            { label: 'users', values: series.users },
            { label: 'devices', values: series.devices },
          ]}
        />
        <Chart
          title="Waiting in mailboxes"
          format={number}
          at={series.at}
          lines={[
            { label: 'messages', values: series.waiting },
            { label: 'dead letters', values: series.deadLetters },
          ]}
        />
        <Chart
          title="Pushes and failures a second"
          format={number}
          at={series.at}
          lines={[
            { label: 'pushed', values: series.pushed },
            { label: 'pushes failed', values: series.pushesFailed },
            { label: 'sends failed', values: series.failed },
          ]}
        />
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="sm">
        <Processes processes={processes} />
        <Stack gap="sm">
          <Health />
          <Broker broker={broker} />
        </Stack>
      </SimpleGrid>
    </Stack>
  );
}

function Figure({
  label,
  value,
  isBad = false,
}: {
  label: string;
  value: string;
  isBad?: boolean;
}) {
  return (
    <Card withBorder padding="sm">
      <Text size="xs" c="dimmed">
        {label}
      </Text>
      <Text size="xl" fw={650} className={isBad ? 'figure warn' : 'figure'}>
        {value}
      </Text>
    </Card>
  );
}

function Processes({ processes }: { processes: Process[] }) {
  return (
    <Card withBorder padding="sm" component="section" aria-label="Servers and workers">
      <Text fw={600} size="sm" mb="xs">
        Servers and workers
      </Text>
      <Table.ScrollContainer minWidth={420}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Role</Table.Th>
              <Table.Th>Host</Table.Th>
              <Table.Th>Since</Table.Th>
              <Table.Th>CPU</Table.Th>
              <Table.Th>Memory</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {processes.map(({ stats }) => (
              <Table.Tr key={stats.instance}>
                <Table.Td>{stats.role}</Table.Td>
                <Table.Td className="id">{stats.host}</Table.Td>
                <Table.Td>
                  <Time at={stats.startedAt} />
                </Table.Td>
                <Table.Td className="figure">{Math.round(stats.cpu * 100)} %</Table.Td>
                <Table.Td className="figure">{bytes(stats.memoryBytes)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Card>
  );
}

/** Of the server that this page talks to. */
function Health() {
  const health = useQuery({
    queryKey: ['health'],
    queryFn: async ({ signal }) => {
      const response = await fetch(`${BASE}/health/ready`, { signal });
      return (await response.json()) as { checks?: Record<string, 'up' | 'down'> };
    },
    refetchInterval: 5000,
  });
  const checks = health.isError ? { server: 'down' as const } : (health.data?.checks ?? {});
  return (
    <Card withBorder padding="sm" component="section" aria-label="Health">
      <Group gap="sm">
        <Text fw={600} size="sm">
          Health
        </Text>
        {Object.entries(checks).map(([name, state]) => (
          <Badge key={name} variant="light" color={state === 'up' ? 'green' : 'red'}>
            {name} {state}
          </Badge>
        ))}
      </Group>
    </Card>
  );
}

function Broker({ broker }: { broker: BrokerFigures | null }) {
  return (
    <Card withBorder padding="sm" component="section" aria-label="Broker">
      <Group justify="space-between" mb="xs">
        <Text fw={600} size="sm">
          RabbitMQ {broker?.version ?? ''}
        </Text>
        {broker !== null && (
          <Badge color={broker.hasAlarm ? 'red' : 'green'} variant="light">
            {broker.hasAlarm ? 'alarm: publishers wait' : 'no alarms'}
          </Badge>
        )}
      </Group>
      {broker === null ? (
        <Text size="sm" c="dimmed">
          Its management API has not answered yet.
        </Text>
      ) : (
        <Stack gap="xs">
          {broker.nodes.map(({ name, isRunning }) => (
            <Group key={name} justify="space-between" wrap="nowrap">
              <Text size="sm" className="id">
                {name}
              </Text>
              <Badge color={isRunning ? 'green' : 'red'} variant="light">
                {isRunning ? 'running' : 'down'}
              </Badge>
            </Group>
          ))}
          <Text size="sm" c="dimmed">
            {number(broker.connections)} connections, {number(broker.queues)} queues
          </Text>
          {broker.published === null && (
            <Text size="xs" c="dimmed">
              How many messages come and go is not known: its Prometheus plugin has not answered.
              &quot;warren doctor&quot; says why.
            </Text>
          )}
        </Stack>
      )}
    </Card>
  );
}
