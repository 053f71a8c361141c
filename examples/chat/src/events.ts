/** A room, or the other one of two. */
export type Target = { room: string } | { user: string };

export interface Room {
  id: string;
  name: string;
  /** How many are in it. */
  members: number;
}

export interface Friends {
  friends: string[];
  /** Who waits for an answer. */
  requests: string[];
}

/** What the server sends to the users' devices: `data` of each type of message. */
export interface ChatEvents {
  /** `message.from` has written it; `at`, in milliseconds, puts it in its place: no two have the same. */
  'chat.message': { to: Target; text: string; at: number };
  /** `message.from` is writing. */
  'chat.typing': { to: Target };
  /** `message.from` has read all up to `at`. */
  'chat.read': { to: Target; at: number };
  /** The whole list: of several that wait, only the newest matters. */
  'friends.changed': Friends;
  'room.joined': Room;
}

/** How far each has read: by the conversation, then by the user. */
export type Marks = Record<string, Record<string, number>>;

/** What a page begins with. */
export interface Overview extends Friends {
  rooms: Room[];
  marks: Marks;
}

/** A Warren group for each room. */
export const groupOf = (room: string): string => `chat-${room}`;

/** What a conversation is called in `Marks`: the same for all that are in it. */
export const conversationOf = (to: Target, from: string): string =>
  'room' in to ? `room:${to.room}` : [to.user, from].sort().join('~');
