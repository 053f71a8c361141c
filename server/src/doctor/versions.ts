import {
  CHECKS_ORIGINS,
  isAtLeast,
  parseVersion,
  SURVIVES_HEADERS,
  type Version,
} from '@warren/rabbitmq';
import { ok, problem, warning, type Finding } from './finding.js';

/** The oldest that Warren runs on, and the first of each series without open advisories. */
const OLDEST: Version = [3, 10, 0];
const GOOD: Version[] = [
  [4, 2, 10],
  [4, 3, 5],
];

/** What is known of older ones that matters to clients which are strangers. */
const WEAKNESSES: [before: Version, what: string][] = [
  [SURVIVES_HEADERS, 'who may publish to mailboxes can crash them by a header'],
  [CHECKS_ORIGINS, 'WebSockets from any page are taken, whatever is configured'],
  [[4, 2, 6], 'AMQP connections outlive their token (the server closes them)'],
  [[4, 2, 6], 'anybody who is logged in can ask whether a queue exists, by its whole name'],
  [[4, 3, 6], 'STOMP connections outlive their token (the server closes them)'],
  [[3, 10, 14], 'Web-STOMP closes without saying why, so that a browser cannot tell a refusal'],
];

/** @param product as the broker calls itself. */
export function judgeVersion(product: string, text: string): Finding {
  if (product !== 'RabbitMQ') {
    return problem(
      `The broker is ${product}, not RabbitMQ.`,
      'Warren needs RabbitMQ itself: its OAuth 2 backend, its event exchange, its policies.',
    );
  }
  const version = parseVersion(text);
  if (version === undefined || !isAtLeast(version, OLDEST)) {
    return problem(
      `RabbitMQ ${text} is too old.`,
      'Warren runs on 3.10 and newer; take the newest 4.3.',
    );
  }
  if (isGood(version)) return ok(`RabbitMQ ${text}.`);
  const known = WEAKNESSES.filter(([before]) => !isAtLeast(version, before));
  return warning(
    `RabbitMQ ${text} has open advisories${known.map(([, what]) => `; ${what}`).join('')}.`,
    'Update to 4.2.10, 4.3.5 or newer before strangers can reach it.',
  );
}

/** A series that is not listed is newer than all of them, or has seen its last patch. */
function isGood(version: Version): boolean {
  const series = GOOD.find(([major, minor]) => version[0] === major && version[1] === minor);
  return isAtLeast(version, series ?? GOOD.at(-1) ?? OLDEST);
}

const HOSTED: [host: RegExp, why: string][] = [
  [
    /\.mq\.[a-z0-9-]+\.amazonaws\.com$/,
    'Amazon MQ does not let you configure the OAuth 2 backend with keys of your own, nor Web-STOMP.',
  ],
  [
    /\.(rmq\d*|lmq)\.cloudamqp\.com$/,
    'Shared CloudAMQP instances have one vhost, no plugins of your choice and no configuration; a ' +
      'dedicated one works.',
  ],
];

/** A hosted broker that is known not to work, by its host's name. */
export function judgeHost(host: string): Finding[] {
  return HOSTED.filter(([pattern]) => pattern.test(host)).map(([, why]) =>
    problem(`${host} cannot work.`, why),
  );
}
