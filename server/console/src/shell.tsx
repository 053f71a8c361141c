import {
  ActionIcon,
  AppShell,
  Badge,
  Burger,
  Button,
  Group,
  NavLink,
  Stack,
  Text,
  TextInput,
  Title,
  Tooltip,
  useComputedColorScheme,
  useMantineColorScheme,
} from '@mantine/core';
import { useDisclosure, useHotkeys } from '@mantine/hooks';
import { useEffect, useRef, useState } from 'react';
import { Link, Route, Switch, useLocation } from 'wouter';
import { Empty } from './components/states.js';
import { ApiError, pathOf, type Api } from './data/api.js';
import { useLiveState, useSession, useStats } from './data/session.js';
import { AuditPage } from './pages/audit.js';
import { BroadcastPage } from './pages/broadcast.js';
import { DeadLettersPage } from './pages/dead-letters.js';
import { EventsPage } from './pages/events.js';
import { GroupPage } from './pages/group.js';
import { GroupsPage } from './pages/groups.js';
import { MessagePage, MessageSearchPage } from './pages/message.js';
import { OverviewPage } from './pages/overview.js';
import { UserPage } from './pages/user.js';
import { UsersPage } from './pages/users.js';

const PAGES = [
  { path: '/', label: 'Overview' },
  { path: '/users', label: 'Users' },
  { path: '/messages', label: 'Messages' },
  { path: '/groups', label: 'Groups' },
  { path: '/broadcast', label: 'Broadcast' },
  { path: '/dead-letters', label: 'Dead letters' },
  { path: '/events', label: 'Events' },
  { path: '/audit', label: 'Audit log' },
];

/** What stands around every page. */
export function Shell() {
  const [isOpen, { toggle, close }] = useDisclosure();
  const [location] = useLocation();
  useEffect(() => {
    const page = PAGES.findLast(({ path }) => location.startsWith(path));
    document.title = `${page?.label ?? 'Warren'} · Warren console`;
    window.scrollTo(0, 0);
  }, [location]);
  return (
    <AppShell
      header={{ height: 56 }}
      navbar={{ width: 210, breakpoint: 'sm', collapsed: { mobile: !isOpen } }}
      padding="md"
    >
      <a className="skip" href="#main" onClick={skipToMain}>
        Skip to the page
      </a>
      <AppShell.Header px="md">
        <Group h="100%" justify="space-between" wrap="nowrap" gap="xs">
          <Group gap="sm" wrap="nowrap">
            <Burger
              opened={isOpen}
              onClick={toggle}
              hiddenFrom="sm"
              size="sm"
              aria-label="Navigation"
            />
            <Title order={1} size="h4">
              Warren
            </Title>
            <LiveBadge />
          </Group>
          <Group gap="xs" wrap="nowrap">
            <Find />
            <SchemeButton />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" aria-label="Pages">
        <Stack gap={2} flex={1}>
          {PAGES.map(({ path, label }) => (
            <NavLink
              key={path}
              component={Link}
              href={path}
              label={label}
              active={path === '/' ? location === '/' : location.startsWith(path)}
              aria-current={location === path ? 'page' : undefined}
              onClick={close}
              rightSection={path === '/dead-letters' ? <DeadCount /> : undefined}
            />
          ))}
        </Stack>
        <Who />
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1}>
        <Switch>
          <Route path="/" component={OverviewPage} />
          <Route path="/users" component={UsersPage} />
          <Route path="/users/:id">{({ id }) => <UserPage key={id} user={decode(id)} />}</Route>
          <Route path="/messages" component={MessageSearchPage} />
          <Route path="/messages/:id">{({ id }) => <MessagePage key={id} id={decode(id)} />}</Route>
          <Route path="/groups" component={GroupsPage} />
          <Route path="/groups/:id">{({ id }) => <GroupPage key={id} group={decode(id)} />}</Route>
          <Route path="/broadcast" component={BroadcastPage} />
          <Route path="/dead-letters" component={DeadLettersPage} />
          <Route path="/events" component={EventsPage} />
          <Route path="/audit" component={AuditPage} />
          <Route>
            <Empty title="There is no such page." />
          </Route>
        </Switch>
      </AppShell.Main>
    </AppShell>
  );
}

function skipToMain(event: { preventDefault: () => void }): void {
  // The address after # is the page's.
  event.preventDefault();
  document.getElementById('main')?.focus();
}

/** Wouter has decoded it once, if it could. */
function decode(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

function LiveBadge() {
  const state = useLiveState();
  const color = { connected: 'green', connecting: 'yellow', disconnected: 'red' }[state];
  const label = { connected: 'live', connecting: 'connecting', disconnected: 'not live' }[state];
  return (
    <Badge color={color} variant="light" role="status">
      {label}
    </Badge>
  );
}

function DeadCount() {
  const { broker } = useStats();
  const count = broker?.deadLetters ?? 0;
  if (count === 0) return null;
  return (
    <Badge size="sm" color="orange" variant="light">
      {count > 9999 ? '9,999+' : count.toLocaleString('en')}
    </Badge>
  );
}

/** So may the id of a user. */
const LOOKS_LIKE_MESSAGE = /^([0-9a-f]{8}-[0-9a-f]{4}-|resent-)/i;

/** A user of such an id is gone to only if there is no such message: the message's page says why one is not known. */
async function isUser(api: Api, id: string): Promise<boolean> {
  if (!LOOKS_LIKE_MESSAGE.test(id)) return true;
  return !(await isThere(api, `messages/${pathOf(id)}`)) && isThere(api, `users/${pathOf(id)}`);
}

async function isThere(api: Api, path: string): Promise<boolean> {
  try {
    await api.get(path);
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false;
    // Whatever is wrong, the page there tells.
    return true;
  }
}

function Find() {
  const { api } = useSession();
  const [, navigate] = useLocation();
  const [text, setText] = useState('');
  const input = useRef<HTMLInputElement>(null);
  useHotkeys([['/', () => input.current?.focus()]]);
  return (
    <form
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        const id = text.trim();
        if (id === '') return;
        setText('');
        void isUser(api, id).then((isOne) => {
          navigate(`/${isOne ? 'users' : 'messages'}/${pathOf(id)}`);
        });
      }}
    >
      <TextInput
        ref={input}
        size="xs"
        w="min(260px, 34vw)"
        placeholder="User or message  ( / )"
        aria-label="Go to a user or a message by its id"
        value={text}
        onChange={(event) => {
          setText(event.currentTarget.value);
        }}
      />
    </form>
  );
}

function SchemeButton() {
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme('light');
  const next = scheme === 'dark' ? 'light' : 'dark';
  return (
    <Tooltip label={`Go ${next}`}>
      <ActionIcon
        variant="default"
        aria-label={`Use ${next} colours`}
        onClick={() => {
          setColorScheme(next);
        }}
      >
        {scheme === 'dark' ? '☀' : '☾'}
      </ActionIcon>
    </Tooltip>
  );
}

function Who() {
  const { actor, role, signOut } = useSession();
  return (
    <Stack gap={4} p="xs">
      <Text size="xs" c="dimmed" className="id">
        {actor}
      </Text>
      <Group justify="space-between">
        <Badge variant="outline" color="gray">
          {role}
        </Badge>
        <Button size="compact-xs" variant="subtle" onClick={signOut}>
          Sign out
        </Button>
      </Group>
    </Stack>
  );
}
