import { Button, Center, Stack, Text, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useInfiniteQuery } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { queryOf } from '../data/api.js';
import { useSession } from '../data/session.js';
import { Empty, Failure, Loading } from './states.js';

interface Page {
  next?: string | number | undefined;
}

export interface ListingProps<Reply extends Page, Item> {
  /** Below `/v1/admin/`. */
  path: string;
  query?: Record<string, string | number | undefined>;
  items: (reply: Reply) => Item[];
  children: (items: Item[], first: Reply) => ReactNode;
  what: string;
  empty: ReactNode;
  /** What the next page is asked for with. Default `after`. */
  cursor?: 'after' | 'before';
  /** How often it is asked for anew, in milliseconds. Default: only when something has changed. */
  refetchMs?: number;
}

/** What the server hands out page by page. */
export function Listing<Reply extends Page, Item>({
  path,
  query = {},
  items,
  children,
  what,
  empty,
  cursor = 'after',
  refetchMs,
}: ListingProps<Reply, Item>) {
  const { api } = useSession();
  const result = useInfiniteQuery({
    queryKey: [path, query],
    queryFn: ({ pageParam, signal }) =>
      api.get<Reply>(`${path}${queryOf({ ...query, [cursor]: pageParam })}`, signal),
    initialPageParam: undefined as string | number | undefined,
    getNextPageParam: ({ next }) => next,
    placeholderData: (before) => before,
    ...(refetchMs !== undefined && { refetchInterval: refetchMs }),
  });
  if (result.isPending) return <Loading what={what} />;
  if (result.isError) return <Failure error={result.error} onRetry={() => void result.refetch()} />;
  const [first] = result.data.pages;
  const all = result.data.pages.flatMap(items);
  if (first === undefined || all.length === 0) return empty;
  return (
    <Stack>
      {children(all, first)}
      {result.hasNextPage && (
        <Center>
          <Button
            variant="default"
            loading={result.isFetchingNextPage}
            onClick={() => void result.fetchNextPage()}
          >
            Show more
          </Button>
        </Center>
      )}
    </Stack>
  );
}

/** Looks things up as one types. */
export function Search({
  label,
  children,
}: {
  label: string;
  children: (text: string) => ReactNode;
}) {
  const [text, setText] = useState('');
  const [settled] = useDebouncedValue(text.trim(), 180);
  return (
    <Stack>
      <TextInput
        aria-label={label}
        placeholder={label}
        value={text}
        maw={420}
        onChange={(event) => {
          setText(event.currentTarget.value);
        }}
      />
      {children(settled)}
    </Stack>
  );
}

export const nothing = (what: string, search: string): ReactNode =>
  search === '' ? (
    <Empty title={`There are no ${what} yet.`} />
  ) : (
    <Empty title={`No ${what} have this in their id.`}>
      <Text span size="sm" className="id">
        {search}
      </Text>
    </Empty>
  );
