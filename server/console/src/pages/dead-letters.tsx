import {
  Badge,
  Checkbox,
  Group,
  Modal,
  Select,
  Stack,
  Table,
  Text,
  TextInput,
  Title,
  UnstyledButton,
} from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type {
  DeadLetter,
  DeadLetterDetail,
  DeadLettersBody,
  DeadLettersDone,
  DeadLettersReply,
  DeadReason,
} from '@warren/protocol';
import { Action } from '../components/confirm.js';
import { Listing } from '../components/listing.js';
import { Empty, Failure, Loading } from '../components/states.js';
import { bytes, MessageLink, number, Payload, Time, UserLink } from '../components/text.js';
import { useSession } from '../data/session.js';

export function DeadLettersPage() {
  const [reason, setReason] = useState<string | null>(null);
  const [user, setUser] = useState('');
  const [type, setType] = useState('');
  const [[settledUser, settledType]] = useDebouncedValue([user.trim(), type.trim()], 250);
  const [chosen, setChosen] = useState<ReadonlySet<number>>(new Set());
  const [shown, setShown] = useState<number>();
  const filter = {
    ...(reason !== null && { reason: reason as DeadReason }),
    ...(settledUser !== '' && { user: settledUser }),
    ...(settledType !== '' && { type: settledType }),
  };
  const toggle = (id: number): void => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
  };
  return (
    <Stack>
      <Title order={2} size="h3">
        Dead letters
      </Title>
      <Group align="flex-end">
        <Select
          label="Reason"
          placeholder="any"
          data={['expired', 'overflowed', 'rejected', 'job']}
          value={reason}
          onChange={setReason}
          clearable
          w={140}
        />
        <TextInput
          label="User"
          placeholder="anybody"
          value={user}
          w={160}
          onChange={(event) => {
            setUser(event.currentTarget.value);
          }}
        />
        <TextInput
          label="Type"
          placeholder="any"
          value={type}
          w={160}
          onChange={(event) => {
            setType(event.currentTarget.value);
          }}
        />
      </Group>
      <Listing
        path="dead-letters"
        query={filter}
        items={({ letters }: DeadLettersReply) => letters}
        what="dead letters"
        empty={
          <Empty title="No dead letters.">
            Messages that expired, that no mailbox had room for, or that an app rejected, would lie
            here for a week.
          </Empty>
        }
        refetchMs={5000}
      >
        {(letters, { total }) => (
          <Stack>
            <BulkActions
              chosen={letters.filter(({ id }) => chosen.has(id)).map(({ id }) => id)}
              filter={filter}
              total={total}
              onDone={() => {
                setChosen(new Set());
              }}
            />
            <Letters letters={letters} chosen={chosen} onToggle={toggle} onShow={setShown} />
          </Stack>
        )}
      </Listing>
      {shown !== undefined && (
        <Letter
          id={shown}
          onClose={() => {
            setShown(undefined);
          }}
        />
      )}
    </Stack>
  );
}

function BulkActions({
  chosen,
  filter,
  total,
  onDone,
}: {
  chosen: number[];
  filter: object;
  total: number;
  onDone: () => void;
}) {
  const { api } = useSession();
  const isSome = chosen.length > 0;
  const body: DeadLettersBody = isSome ? { ids: chosen } : { all: true, ...filter };
  const count = isSome ? chosen.length : total;
  const which = isSome ? `the ${number(count)} that are chosen` : `all ${number(count)} that fit`;
  const act = (name: 'resend' | 'discard') => () =>
    api.call<DeadLettersDone>('POST', `dead-letters/${name}`, body);
  const more = ({ unreachable, gone }: DeadLettersDone): string =>
    [
      unreachable > 0 ? `${number(unreachable)} cannot be sent again` : '',
      gone > 0 ? `${number(gone)} were gone already` : '',
    ]
      .filter(Boolean)
      .map((text) => `; ${text}`)
      .join('');
  return (
    <Group justify="space-between">
      <Text size="sm" c="dimmed">
        {number(total)} in all{isSome && `, ${number(chosen.length)} chosen`}
      </Text>
      <Group gap="xs">
        <Action
          label={isSome ? `Resend ${number(count)}` : 'Resend all'}
          question={`Send ${which} again, each to its device, under a new id.`}
          act={act('resend')}
          done={(reply) => `${number(reply.done)} were sent again${more(reply)}.`}
          onDone={onDone}
        />
        <Action
          label={isSome ? `Discard ${number(count)}` : 'Discard all'}
          question={`Throw ${which} away, for good.`}
          phrase={isSome ? undefined : String(total)}
          act={act('discard')}
          done={(reply) => `${number(reply.done)} were thrown away${more(reply)}.`}
          onDone={onDone}
          isDangerous
        />
      </Group>
    </Group>
  );
}

function Letters({
  letters,
  chosen,
  onToggle,
  onShow,
}: {
  letters: DeadLetter[];
  chosen: ReadonlySet<number>;
  onToggle: (id: number) => void;
  onShow: (id: number) => void;
}) {
  return (
    <Table.ScrollContainer minWidth={620}>
      <Table highlightOnHover>
        <Table.Thead>
          <Table.Tr>
            <Table.Th w={36}>
              <span className="skip">Choose</span>
            </Table.Th>
            <Table.Th>When</Table.Th>
            <Table.Th>Reason</Table.Th>
            <Table.Th>Type</Table.Th>
            <Table.Th>User</Table.Th>
            <Table.Th>Size</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {letters.map(({ id, at, reason, type, user, queue, size }) => (
            <Table.Tr key={id}>
              <Table.Td>
                <Checkbox
                  aria-label={`Choose dead letter ${String(id)}`}
                  checked={chosen.has(id)}
                  onChange={() => {
                    onToggle(id);
                  }}
                />
              </Table.Td>
              <Table.Td>
                <Time at={at} />
              </Table.Td>
              <Table.Td>
                <Badge variant="light" color="orange">
                  {reason}
                </Badge>
              </Table.Td>
              <Table.Td>
                <UnstyledButton
                  aria-label={`${type ?? 'message'}: look at dead letter ${String(id)}`}
                  onClick={() => {
                    onShow(id);
                  }}
                >
                  <Text size="sm" td="underline">
                    {type ?? 'message'}
                  </Text>
                </UnstyledButton>
              </Table.Td>
              <Table.Td>
                {user === undefined ? (
                  <Text size="xs" className="id" c="dimmed">
                    {queue}
                  </Text>
                ) : (
                  <UserLink user={user} />
                )}
              </Table.Td>
              <Table.Td className="figure">{bytes(size)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

function Letter({ id, onClose }: { id: number; onClose: () => void }) {
  const { api } = useSession();
  const letter = useQuery({
    queryKey: ['dead-letter', id],
    queryFn: ({ signal }) => api.get<DeadLetterDetail>(`dead-letters/${String(id)}`, signal),
    // Each look is in the audit log.
    staleTime: Infinity,
    refetchOnWindowFocus: false,
  });
  return (
    <Modal opened onClose={onClose} title={`Dead letter ${String(id)}`} size="lg">
      {letter.isPending && <Loading what="the message" />}
      {letter.isError && <Failure error={letter.error} />}
      {letter.data !== undefined && (
        <Stack>
          <Group gap="sm">
            <Badge variant="light" color="orange">
              {letter.data.reason}
            </Badge>
            <Text size="sm">{letter.data.type ?? 'message'}</Text>
            <Time at={letter.data.at} />
          </Group>
          {letter.data.messageId !== undefined && <MessageLink id={letter.data.messageId} />}
          {letter.data.detail !== undefined && <Text size="sm">{letter.data.detail}</Text>}
          <Text size="xs" c="dimmed" className="id">
            {letter.data.queue}
          </Text>
          {letter.data.body === undefined ? (
            <Text size="sm" c="dimmed">
              {bytes(letter.data.size)} that are no text.
            </Text>
          ) : (
            <Payload text={letter.data.body} />
          )}
          <Text size="sm" fw={600}>
            Headers
          </Text>
          <Payload text={JSON.stringify(letter.data.headers)} />
        </Stack>
      )}
    </Modal>
  );
}
