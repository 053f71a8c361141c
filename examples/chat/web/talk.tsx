import { useEffect, useRef, useState, type SubmitEvent } from 'react';
import type { Chat, Conversation } from './chat.js';
import type { Line } from './transcript.js';

/** In pixels. */
const NEAR_END = 60;

/** One conversation: what was written, and where one writes. */
export function Talk({ chat, conversation }: { chat: Chat; conversation: Conversation }) {
  const { key, to, title, lines, hasOlder, members, typing } = conversation;
  const box = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const last = lines.at(-1);
  const isOwn = last?.from === chat.user;
  useEffect(() => {
    // Whoever reads what was before is left there.
    if (isAtEnd.current || isOwn) box.current?.scrollTo({ top: box.current.scrollHeight });
  }, [last?.id, isOwn]);
  return (
    <section className="talk" aria-label={title}>
      <header>
        <button
          className="back"
          aria-label="Back"
          onClick={() => {
            chat.openConversation(undefined);
          }}
        >
          ‹
        </button>
        <h2>{title}</h2>
        {'room' in to && (
          <span className="soft">{members === 1 ? 'only you' : `${String(members)} members`}</span>
        )}
      </header>
      <div
        className="lines"
        ref={box}
        onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
          isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_END;
        }}
      >
        {hasOlder && (
          <button className="older" onClick={() => void chat.loadOlder(key)}>
            Older
          </button>
        )}
        <ol aria-live="polite" aria-label="Messages">
          {lines.map((line) => (
            <LineView key={line.id} chat={chat} conversation={conversation} line={line} />
          ))}
        </ol>
        <p className="typing soft">{typing.length > 0 && `${typing.join(', ')} writes …`}</p>
      </div>
      <Composer chat={chat} conversation={conversation} />
    </section>
  );
}

interface LineProps {
  chat: Chat;
  conversation: Conversation;
  line: Line;
}

function LineView({ chat, conversation, line }: LineProps) {
  const { from, text, at, state, id } = line;
  const isOwn = from === chat.user;
  const again = (): void => {
    chat.say(conversation.to, text, id.slice(from.length + 1));
  };
  return (
    <li className={isOwn ? 'own' : ''} data-state={state}>
      {!isOwn && <b>{from}</b>}
      <span>{text}</span>
      <small>
        {state === 'sent' && <time>{new Date(at).toLocaleTimeString([], TIME)}</time>}
        {isOwn && ` ${wordFor(line, conversation, chat.user)}`}
        {state === 'failed' && <button onClick={again}>Try again</button>}
      </small>
    </li>
  );
}

const TIME = { hour: '2-digit', minute: '2-digit' } as const;

/** What has become of one's own line. */
function wordFor({ at, state }: Line, { to, marks }: Conversation, me: string): string {
  if (state === 'sending') return 'sending …';
  if (state === 'failed') return 'not sent';
  const readers = Object.entries(marks).filter(([user, mark]) => user !== me && mark >= at);
  if (readers.length === 0) return 'sent';
  return 'user' in to ? 'read' : `read by ${String(readers.length)}`;
}

function Composer({ chat, conversation }: { chat: Chat; conversation: Conversation }) {
  const [text, setText] = useState('');
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    if (text.trim() === '') return;
    chat.say(conversation.to, text.trim());
    setText('');
  };
  return (
    <form className="composer" onSubmit={submit}>
      <input
        aria-label="Message"
        placeholder="Write something"
        maxLength={2000}
        autoComplete="off"
        value={text}
        onChange={({ target }) => {
          setText(target.value);
          if (target.value !== '') chat.type(conversation.to);
        }}
      />
      <button className="primary">Send</button>
    </form>
  );
}
