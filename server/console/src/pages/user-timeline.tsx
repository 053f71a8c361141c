import { Alert, SegmentedControl, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import type { TimelineEntry, TimelineReply } from '@warren/protocol';
import { Listing } from '../components/listing.js';
import { Empty } from '../components/states.js';
import { Happenings, troublesOf } from '../components/timeline.js';
import { pathOf } from '../data/api.js';

/** Why something did not arrive: what happened in the last seven days. */
export function UserTimeline({ user }: { user: string }) {
  return (
    <Listing
      path={`users/${pathOf(user)}/timeline`}
      query={{ limit: 100 }}
      cursor="before"
      items={({ entries }: TimelineReply) => entries}
      what="what happened"
      empty={<Empty title="Nothing happened in the last 7 days." />}
      refetchMs={5000}
    >
      {(entries) => <Entries entries={entries} />}
    </Listing>
  );
}

function Entries({ entries }: { entries: TimelineEntry[] }) {
  const [which, setWhich] = useState('all');
  const troubles = troublesOf(entries);
  const [latest] = troubles;
  const shown = which === 'all' ? entries : troubles;
  return (
    <Stack>
      {latest !== undefined && (
        <Alert color="orange" variant="light" title="The last trouble">
          <Text size="sm">{latest.summary}</Text>
        </Alert>
      )}
      <SegmentedControl
        w="fit-content"
        value={which}
        onChange={setWhich}
        data={[
          { value: 'all', label: 'Everything' },
          { value: 'trouble', label: `Trouble (${String(troubles.length)})` },
        ]}
      />
      {shown.length === 0 ? <Empty title="No trouble." /> : <Happenings entries={shown} />}
    </Stack>
  );
}
