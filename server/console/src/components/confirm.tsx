import { Button, Group, Modal, Stack, Text, TextInput, Tooltip } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { useSession } from '../data/session.js';
import { Failure } from './states.js';

export interface ActionProps<Reply> {
  /** On the button. */
  label: string;
  /** What it does, before it is done. */
  question: ReactNode;
  /** Resolves when it is done. */
  act: () => Promise<Reply>;
  /** What has become of it. */
  done: (reply: Reply) => string;
  onDone?: () => void;
  isDangerous?: boolean;
  /** What has to be typed before; nothing by default. */
  phrase?: string | undefined;
  disabled?: boolean;
}

/** A button for operators, which asks before it acts. */
export function Action<Reply>(props: ActionProps<Reply>) {
  const { label, isDangerous = false, disabled = false } = props;
  const { isOperator } = useSession();
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Tooltip label="You are a viewer: this needs an operator." disabled={isOperator}>
        <Button
          size="xs"
          variant="default"
          {...(isDangerous && isOperator && !disabled && { c: 'red' })}
          disabled={disabled || !isOperator}
          onClick={() => {
            setOpen(true);
          }}
        >
          {label}
        </Button>
      </Tooltip>
      {isOpen && (
        <Confirm
          {...props}
          onClose={() => {
            setOpen(false);
          }}
        />
      )}
    </>
  );
}

function Confirm<Reply>({
  label,
  question,
  act,
  done,
  onDone,
  onClose,
  isDangerous = false,
  phrase,
}: ActionProps<Reply> & { onClose: () => void }) {
  const [typed, setTyped] = useState('');
  const queries = useQueryClient();
  const action = useMutation({
    mutationFn: act,
    onSuccess: async (reply) => {
      notifications.show({ message: done(reply), color: 'green' });
      onClose();
      onDone?.();
      await queries.invalidateQueries();
    },
  });
  const isReady = phrase === undefined || typed.trim() === phrase;
  return (
    <Modal opened onClose={onClose} title={label} centered>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isReady) action.mutate();
        }}
      >
        <Stack>
          <Text size="sm">{question}</Text>
          {phrase !== undefined && (
            <TextInput
              label={`Type ${phrase} to go on`}
              value={typed}
              onChange={(event) => {
                setTyped(event.currentTarget.value);
              }}
              autoComplete="off"
              data-autofocus
            />
          )}
          {action.isError && <Failure error={action.error} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            <Button
              type="submit"
              {...(isDangerous && { color: 'red' })}
              disabled={!isReady}
              loading={action.isPending}
              {...(phrase === undefined && { 'data-autofocus': true })}
            >
              {label}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
