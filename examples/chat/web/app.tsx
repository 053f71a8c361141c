import { useState, useSyncExternalStore, type SubmitEvent } from 'react';
import type { Chat, Conversation, View } from './chat.js';
import { Talk } from './talk.js';
import { notifyMe } from './notify.js';

export function App({ chat }: { chat: Chat }) {
  const view = useSyncExternalStore(chat.subscribe, chat.getView);
  const open = view.conversations.find(({ key }) => key === view.open);
  return (
    <div className={`chat ${open === undefined ? 'listing' : 'talking'}`}>
      <Lists chat={chat} view={view} />
      {open === undefined ? (
        <p className="nothing soft">Choose a conversation.</p>
      ) : (
        <Talk chat={chat} conversation={open} key={open.key} />
      )}
      {view.problem !== undefined && <p role="alert">{view.problem}</p>}
    </div>
  );
}

function Lists({ chat, view }: { chat: Chat; view: View }) {
  return (
    <nav aria-label="Conversations">
      <header>
        <h1>{chat.user}</h1>
        <Connection view={view} />
        <NotifyButton chat={chat} />
      </header>
      {view.requests.length > 0 && (
        <ul className="requests" aria-label="Friend requests">
          {view.requests.map((user) => (
            <li key={user}>
              <span>{user} wants to be your friend</span>
              <button className="primary" onClick={() => void chat.befriend(user)}>
                Accept
              </button>
            </li>
          ))}
        </ul>
      )}
      <ul className="conversations" aria-label="Rooms and friends">
        {view.conversations.map((conversation) => (
          <li key={conversation.key}>
            <Entry
              conversation={conversation}
              isOpen={conversation.key === view.open}
              onOpen={() => {
                chat.openConversation(conversation.key);
              }}
            />
          </li>
        ))}
      </ul>
      <NameForm
        label="A friend’s name"
        action="Ask"
        onName={(name) => void chat.befriend(name.toLowerCase())}
      />
      {view.friends.length > 0 && (
        <NameForm
          label="A room with all friends"
          action="Make"
          onName={(name) => void chat.makeRoom(name, view.friends)}
        />
      )}
    </nav>
  );
}

function Connection({ view }: { view: View }) {
  const { receiving, state, reason } = view.connection;
  return (
    <span className="connection" data-receiving={receiving} title={reason?.message}>
      {receiving ? 'online' : state === 'failed' ? 'signed out' : 'no connection'}
    </span>
  );
}

function NotifyButton({ chat }: { chat: Chat }) {
  const [state, setState] = useState<'off' | 'on' | 'refused'>('off');
  if (!('PushManager' in window)) return null;
  const label = { off: 'Notify me', on: 'Notifications on', refused: 'Not possible here' }[state];
  const ask = (): void => {
    notifyMe(chat.client).then(
      () => {
        setState('on');
      },
      () => {
        setState('refused');
      },
    );
  };
  return (
    <button disabled={state !== 'off'} onClick={ask}>
      {label}
    </button>
  );
}

interface EntryProps {
  conversation: Conversation;
  isOpen: boolean;
  onOpen: () => void;
}

function Entry({ conversation, isOpen, onOpen }: EntryProps) {
  const { title, unread, lines, typing } = conversation;
  const last = lines.at(-1);
  const preview = typing.length > 0 ? `${typing.join(', ')} writes …` : last?.text;
  return (
    <button className="entry" aria-current={isOpen} onClick={onOpen}>
      <b>{title}</b>
      {unread > 0 && (
        <span className="unread" aria-label={`${String(unread)} unread`}>
          {unread > 99 ? '99+' : unread}
        </span>
      )}
      <span className="preview soft">{preview ?? 'Nothing yet'}</span>
    </button>
  );
}

/** Asks for a name, and does something with it. */
function NameForm({ label, action, onName }: NameFormProps) {
  const [name, setName] = useState('');
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    onName(name.trim());
    setName('');
  };
  return (
    <form onSubmit={submit}>
      <input
        aria-label={label}
        placeholder={label}
        value={name}
        required
        onChange={({ target }) => {
          setName(target.value);
        }}
      />
      <button>{action}</button>
    </form>
  );
}

interface NameFormProps {
  label: string;
  action: string;
  onName: (name: string) => void;
}
