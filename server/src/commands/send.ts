import type { Delivery, Recipient } from '@warren/protocol';
import { CommandError } from '../command-error.js';
import { readDevInfo } from '../dev/index.js';
import { judgeLogin } from '../doctor/own-login.js';
import { flawIn } from '../foreign-json.js';
import { createPublisher, PublishError, type SendResult } from '../publisher/index.js';
import { brokerNames, readVariables } from './environment.js';

export interface SendFlags {
  device?: string;
  group?: boolean;
  type: string;
  live?: boolean;
  stored?: boolean;
  ttlMs?: number;
  dataDir: string;
}

/** Sends one message, to the broker of the variables or that of what runs on a data directory. */
export async function send(to: string, text: string, flags: SendFlags): Promise<SendResult> {
  const settings = {
    delivery: deliveryOf(flags),
    ...(flags.ttlMs !== undefined && { ttlMs: flags.ttlMs }),
  };
  const broker = await brokerOf(flags);
  let trouble: Error | undefined;
  const publisher = createPublisher({ ...broker, onError: (error) => (trouble = error) });
  try {
    return await publisher.send(recipientOf(to, flags), flags.type, parse(text), settings);
  } catch (error) {
    throw error instanceof PublishError ? explain(error, trouble, broker.amqpUrl) : error;
  } finally {
    await publisher.close();
  }
}

async function brokerOf({ dataDir }: SendFlags) {
  const { WARREN_AMQP_URL: given, WARREN_EXCHANGE: exchange } = readVariables(
    'WARREN_AMQP_URL',
    'WARREN_EXCHANGE',
  );
  const running = given === undefined ? await readDevInfo(dataDir) : undefined;
  const amqpUrl = given ?? running?.amqpUrl ?? '';
  const names = brokerNames(amqpUrl);
  return {
    amqpUrl,
    exchange: exchange ?? running?.exchange ?? names.exchange,
    prefixes: { user: names.userPrefix, live: names.livePrefix },
  };
}

const REMEDIES: Partial<Record<PublishError['code'], string>> = {
  broker_unavailable: 'Check WARREN_AMQP_URL, and that the broker runs; "warren doctor" says more.',
  broker_refused: 'Check WARREN_EXCHANGE, and that the account may write to it.',
  outcome_unknown: 'It may still arrive. Check that the broker runs.',
};

/** With what the connection has met, which says why nothing was sent. */
function explain(error: PublishError, trouble: Error | undefined, amqpUrl: string): Error {
  const judged = judgeLogin(amqpUrl, trouble);
  const why = judged?.what ?? trouble?.message;
  const remedy = judged?.remedy ?? REMEDIES[error.code] ?? '';
  // It was reached, and has said why not.
  const isTold = judged !== undefined && error.code === 'broker_unavailable';
  const parts = isTold ? [why] : [error.message, why];
  const what = parts.filter((part) => part !== undefined).join(' ');
  return new CommandError(what, remedy, { cause: error });
}

function recipientOf(to: string, { device, group }: SendFlags): Recipient {
  if (group === true) return { group: to };
  return device === undefined ? { user: to } : { device: { user: to, device } };
}

function deliveryOf({ live, stored }: SendFlags): Delivery {
  if (live === true && stored === true) throw new Error('Give only one of --live and --stored.');
  return live === true ? 'live' : stored === true ? 'stored' : 'queued';
}

/** @throws {CommandError} when it is JSON that would arrive as something else. */
function parse(text: string): unknown {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return text;
  }
  const flaw = flawIn(text);
  if (flaw !== undefined) throw new CommandError('The data cannot be sent as it is.', flaw);
  return data;
}
