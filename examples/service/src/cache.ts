// A replica of a cache: `cache.js <name>`. It keeps no port open, and misses no change while it is restarted.
import jwt from 'jsonwebtoken';
import { getClient, node } from '@warren/client';
import { amqp } from '@warren/client/amqp';
import { CACHE, type PriceEvents } from './events.js';

const [replica = 'replica-1'] = process.argv.slice(2);
const apiUrl = process.env['WARREN_API_URL'] ?? '';
const secret = process.env['USER_JWT_SECRET'] ?? '';
const say = (text: string): void => {
  process.stdout.write(`${replica}  ${text}\n`);
};

const prices = new Map<string, number>();
const client = getClient<PriceEvents>({
  apiUrl,
  userId: CACHE,
  deviceId: replica,
  // Services of one owner share the secret of the application's JWTs; others ask a service for a token.
  getToken: () => jwt.sign({}, secret, { subject: CACHE, expiresIn: '5m' }),
  transport: amqp(),
  platform: node(),
});
client.handle('price.changed', ({ data: { article, cents } }) => {
  prices.set(article, cents);
  say(`${article} ${String(cents)}`);
});
// The first replica to answer is the one that is heard.
client.answer('price.asked', ({ data }) => ({ cents: prices.get(data.article) ?? null }));
client.on('state', ({ current, reason }) => {
  say([current, reason?.message].filter(Boolean).join(': '));
});
client.start();
