import AsyncStorage from '@react-native-async-storage/async-storage';
import NetInfo from '@react-native-community/netinfo';
import { AppState } from 'react-native';
import { openStorage, reactNative } from '@warren/client/react-native';
import { Inbox } from './inbox';

/** Where your server is: the address that `npm start -- --host` was given. */
const API_URL = 'http://192.168.1.20:8080';

/** The inbox of whoever is logged in, on a phone. */
export async function openInbox(userId: string): Promise<Inbox> {
  const options = {
    apiUrl: API_URL,
    userId,
    getToken: () => fetchToken(userId),
    // The connection goes when the app does, and is there again when it comes back.
    platform: reactNative({ AppState, NetInfo }),
    // The device's id, and what it has handled.
    storage: await openStorage(AsyncStorage),
  };
  return Inbox.open(options, AsyncStorage);
}

/** Your own login's JWT. After `npm start`, anybody gets one. */
async function fetchToken(userId: string): Promise<string> {
  const response = await fetch(`${API_URL}/dev/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ userId }),
  });
  if (!response.ok) throw new Error(`The server answered ${String(response.status)}.`);
  const { token } = (await response.json()) as { token: string };
  return token;
}
