import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import express, { type ErrorRequestHandler, type Router } from 'express';
import { z } from 'zod';
import { logins, userOf, type Example } from '@warren/example-common';
import { conversationOf, type Overview, type Target } from './events.js';
import { Messenger } from './messenger.js';
import { ChatStore } from './store.js';

/** Everybody is in it. */
const LOBBY = { id: 'lobby', name: 'Lobby' };
const MOST_MEMBERS = 200;

const nameSchema = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/);
const targetSchema: z.ZodType<Target> = z.union([
  z.strictObject({ room: nameSchema }),
  z.strictObject({ user: nameSchema }),
]);
const lineSchema = z.object({ to: targetSchema, text: z.string().min(1).max(2000), id: z.uuid() });
const readSchema = z.object({ to: targetSchema, at: z.int().positive() });
const roomSchema = z.object({ name: z.string().min(1).max(60), members: z.array(nameSchema) });

class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

function create({ api, secret, dataDir }: Parameters<Example['create']>[0]): Router {
  const store = new ChatStore(join(dataDir, 'chat.json'));
  const messenger = new Messenger(api, store);
  const router = express.Router();
  const back = express.Router();
  router.use('/api', back);
  router.use(express.static(fileURLToPath(new URL('web/', import.meta.url))));

  back.use(logins(api, secret));
  addPeople(back, store, messenger);
  addTalk(back, store, messenger);
  back.use(reportError);
  return router;
}

/** Who somebody knows, and where they meet. */
function addPeople(back: Router, store: ChatStore, messenger: Messenger): void {
  back.get('/me', async (request, response) => {
    const me = userOf(request);
    if (!store.membersOf(LOBBY.id).includes(me) && store.room(LOBBY.id).members < MOST_MEMBERS)
      await messenger.addToRoom(LOBBY.id, LOBBY.name, [me]);
    const rooms = store.roomsOf(me);
    const { friends, requests } = store.friendsOf(me);
    const conversations = [
      ...rooms.map(({ id }) => conversationOf({ room: id }, me)),
      ...friends.map((user) => conversationOf({ user }, me)),
    ];
    const marks = store.marksIn(conversations);
    response.json({ friends, requests, rooms, marks } satisfies Overview);
  });

  back.post('/friends/:user', async (request, response) => {
    const me = userOf(request);
    const user = nameSchema.parse(request.params.user);
    if (user === me) throw new Refused(400, 'That is you.');
    if (!store.areFriends(me, user)) {
      const accepted = store.askForFriendship(me, user);
      const text = accepted ? `${me} is your friend now.` : `${me} wants to be your friend.`;
      await messenger.tellFriends([user, me], { user, text });
    }
    response.status(202).end();
  });

  back.post('/rooms', async (request, response) => {
    const me = userOf(request);
    const { name, members } = roomSchema.parse(request.body);
    if (members.length >= MOST_MEMBERS)
      throw new Refused(400, `A room has ${String(MOST_MEMBERS)} members at most.`);
    const strangers = members.filter((user) => !store.areFriends(me, user));
    if (strangers.length > 0) throw new Refused(403, `Not your friends: ${strangers.join(', ')}.`);
    const id = `r-${crypto.randomUUID().slice(0, 13)}`;
    await messenger.addToRoom(id, name, [me, ...members]);
    response.status(201).json(store.room(id));
  });
}

/** What they say there. */
function addTalk(back: Router, store: ChatStore, messenger: Messenger): void {
  back.post('/messages', async (request, response) => {
    const me = userOf(request);
    const { to, text, id } = lineSchema.parse(request.body);
    assertInside(store, me, to);
    await messenger.say(me, to, text, id);
    response.status(202).end();
  });

  back.post('/typing', async (request, response) => {
    const me = userOf(request);
    const to = targetSchema.parse(request.body);
    assertInside(store, me, to);
    await messenger.type(me, to);
    response.status(202).end();
  });

  back.post('/read', async (request, response) => {
    const me = userOf(request);
    const { to, at } = readSchema.parse(request.body);
    assertInside(store, me, to);
    if (store.mark(conversationOf(to, me), me, at)) await messenger.tellRead(me, to, at);
    response.status(202).end();
  });
}

/** @throws {Refused} unless the user is in the room, or a friend of the other. */
function assertInside(store: ChatStore, user: string, to: Target): void {
  const isInside =
    'room' in to ? store.membersOf(to.room).includes(user) : store.areFriends(user, to.user);
  if (!isInside) throw new Refused(403, 'You are not in this conversation.');
}

const reportError: ErrorRequestHandler = (error, _request, response, _next) => {
  if (error instanceof Refused) {
    response.status(error.status).json({ error: error.message });
  } else if (error instanceof z.ZodError) {
    response.status(400).json({ error: z.prettifyError(error) });
  } else if (error instanceof SyntaxError) {
    response.status(400).json({ error: 'That is no JSON.' });
  } else {
    // Warren or the broker is away: the page tries again, under the same id.
    response.status(503).json({ error: 'Not now. Try again.' });
  }
};

export const chat: Example = { name: 'chat', title: 'Chat', create };
