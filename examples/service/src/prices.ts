// The service that owns the prices. It changes one every second, and asks the cache what it has.
import { createPublisher, PublishError } from '@warren/server/publisher';
import { CACHE, type PriceEvents } from './events.js';

const SECOND_MS = 1000;
const ARTICLES = ['tea', 'coffee', 'cake'];

const publisher = createPublisher<PriceEvents>({ amqpUrl: process.env['AMQP_URL'] ?? '' });
const say = (text: string): void => {
  process.stdout.write(`prices   ${text}\n`);
};

let round = 0;
async function change(): Promise<void> {
  const before = ARTICLES[(round + ARTICLES.length - 1) % ARTICLES.length] ?? '';
  const article = ARTICLES[round++ % ARTICLES.length] ?? '';
  const price = { article, cents: 100 + Math.floor(Math.random() * 900) };
  try {
    // A replica that is being restarted gets it when it is back; of several changes of one article, the newest.
    const options = { collapseKey: article };
    const { outcome } = await publisher.toUser(CACHE, 'price.changed', price, options);
    say(`${article} costs ${String(price.cents)} now (${outcome})`);
    const asked = { article: before };
    const answer = await publisher.request({ user: CACHE }, 'price.asked', asked);
    say(`the cache has for ${before}: ${JSON.stringify(answer)}`);
  } catch (error) {
    // `recipient_offline`: no replica is there to answer. Others say whether to send again.
    if (!(error instanceof PublishError)) throw error;
    say(`${error.code}: ${error.message}`);
  }
}

const timer = setInterval(() => void change(), SECOND_MS);
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => {
    clearInterval(timer);
    void publisher.close();
  });
