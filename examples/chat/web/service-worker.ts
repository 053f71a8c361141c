import { showPushes, type PushScope } from '@warren/client/service-worker';
import { conversationOf, type Target } from '../src/events.js';

// A click on a push opens the conversation that it is about.
showPushes(self as unknown as PushScope, {
  urlOf: ({ user, data }) => {
    const { to } = Object(data) as { to?: Target };
    const query = new URLSearchParams({ as: user });
    if (to !== undefined) query.set('open', conversationOf(to, user));
    return `./?${query}`;
  },
});
