import {
  Alert,
  Button,
  Group,
  JsonInput,
  NumberInput,
  Select,
  Stack,
  Switch,
  Text,
  TextInput,
} from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import type { Delivery, SendReply } from '@warren/protocol';
import { useSession } from '../data/session.js';
import { Failure } from './states.js';
import { MessageLink, OutcomeBadge } from './text.js';

export interface SendFormProps {
  /** `to` of `POST /v1/messages`. */
  to: object;
  label?: string;
  /** Asked before it is sent; by default it is sent at once. */
  confirm?: (send: () => Promise<SendReply>) => ReactNode;
}

/** Writes a message, and shows what has become of it. */
export function SendForm({ to, label = 'Send', confirm }: SendFormProps) {
  const { api, isOperator } = useSession();
  const [type, setType] = useState('message');
  const [data, setData] = useState('{\n  "text": "Hello"\n}');
  const [delivery, setDelivery] = useState<Delivery>('queued');
  const [isTracked, setTracked] = useState(true);
  const [ttlSeconds, setTtl] = useState<number | string>('');
  const isValid = isJson(data) && type !== '';
  const send = useMutation({
    mutationFn: () =>
      api.call<SendReply>('POST', 'messages', {
        to,
        type,
        data: JSON.parse(data) as unknown,
        delivery,
        track: isTracked,
        ...(typeof ttlSeconds === 'number' && { ttlMs: ttlSeconds * 1000 }),
      }),
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (confirm === undefined && isValid) send.mutate();
      }}
    >
      <Stack maw={640}>
        <Group grow align="flex-start">
          <TextInput
            label="Type"
            value={type}
            onChange={(event) => {
              setType(event.currentTarget.value);
            }}
            required
          />
          <Select
            label="Delivery"
            data={['queued', 'stored', 'live']}
            value={delivery}
            allowDeselect={false}
            onChange={(value) => {
              setDelivery(value ?? 'queued');
            }}
          />
          <NumberInput
            label="Waits at most, seconds"
            placeholder="as the mailbox says"
            min={1}
            max={604_800}
            value={ttlSeconds}
            onChange={setTtl}
          />
        </Group>
        <JsonInput
          label="Data"
          value={data}
          onChange={setData}
          minRows={4}
          autosize
          formatOnBlur
          validationError="This is not JSON."
        />
        <Switch
          label="Track it: see what becomes of it"
          checked={isTracked}
          onChange={(event) => {
            setTracked(event.currentTarget.checked);
          }}
        />
        <Group>
          {confirm === undefined ? (
            <Button type="submit" disabled={!isOperator || !isValid} loading={send.isPending}>
              {label}
            </Button>
          ) : (
            isValid && confirm(() => send.mutateAsync())
          )}
          {!isOperator && (
            <Text size="sm" c="dimmed">
              You are a viewer: this needs an operator.
            </Text>
          )}
        </Group>
        {send.isError && <Failure error={send.error} />}
        {send.data !== undefined && <Sent reply={send.data} />}
      </Stack>
    </form>
  );
}

function Sent({ reply: { id, recipients, outcome } }: { reply: SendReply }) {
  const [first] = recipients ?? [];
  const what = first?.outcome ?? outcome;
  return (
    <Alert color="green" variant="light" title="The broker has it" role="status">
      <Group gap="xs">
        <MessageLink id={id} />
        {what !== undefined && <OutcomeBadge outcome={what === 'stored' ? 'queued' : what} />}
      </Group>
    </Alert>
  );
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
