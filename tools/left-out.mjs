// What a run of the tests leaves out, and why: on 4.3 runs everything, on the others whatever a broker can change.

/** No broker is asked for anything in these. */
const WITHOUT_BROKER = [
  ['test/unit/**', 'no broker in them'],
  ['test/integration/history-store.test.ts', 'databases alone'],
  ['test/examples/react-native.test.ts', "React Native's source alone"],
];

/** Chromium takes most of a machine, and what is seen in it comes by an API and a protocol that the rest tests. */
const PAGES = [
  ['test/browser/console.test.ts', 'pages; integration/console asks the same of the broker'],
  ['test/browser/pages.test.ts', 'the life of pages; integration/transports has both protocols'],
  ['test/browser/push.test.ts', 'a service worker, which knows no broker'],
  ['test/browser/react.test.ts', 'what React renders'],
  ['test/examples/c*.test.ts', 'pages of the demo; examples/node starts the same stack'],
  ['test/examples/demo.test.ts', 'pages of the demo; examples/node starts the same stack'],
  ['test/examples/notification.test.ts', 'pages of the demo; examples/node starts the same stack'],
  ['test/examples/progress.test.ts', 'pages of the demo; examples/node starts the same stack'],
  [
    'test/faults/lifecycle.test.ts',
    'two pages under a hundred faults; faults/cuts has both protocols',
  ],
  ['test/examples/languages.test.ts', 'clients in other languages, by the same protocols'],
  ['test/commands/keys.test.ts', 'keys, of which a broker has one'],
];

/** On 4.0, which lies between the two that run them: 3.10, the oldest, and 4.3, the one to take. */
const BETWEEN = [
  ['test/faults/broker-gone.test.ts', 'long; 3.10 and 4.3 run it'],
  ['test/faults/storm.test.ts', 'long; 3.10 and 4.3 run it'],
  ['test/faults/chaos.test.ts', 'long; 3.10 and 4.3 run it'],
  ['test/faults/push.test.ts', 'long; 3.10 and 4.3 run it'],
  ['test/faults/replacement.test.ts', 'long; 3.10 and 4.3 run it'],
  ['test/faults/history.test.ts', 'faults of databases; 3.10 and 4.3 run it'],
  ['test/faults/locked-file.test.ts', 'faults of databases; 3.10 and 4.3 run it'],
  ['test/faults/launcher.test.ts', 'each start takes seconds; 3.10 and 4.3 run it'],
  ['test/integration/postgres.test.ts', 'two servers on a database; 3.10 and 4.3 run it'],
  ['test/security/edges.test.ts', 'thousands of requests; 3.10 and 4.3 run it'],
  ['test/security/amqp-fuzz.test.ts', 'long; 3.10 and 4.3 run it'],
  ['test/commands/start.test.ts', 'npm start; 3.10 and 4.3 run it'],
  ['test/commands/cli.test.ts', 'what commands print; 3.10 and 4.3 run it'],
  ['test/examples/*', 'what npm start shows; 3.10 and 4.3 run it'],
];

/** By run; on 4.3 everything runs. */
export const LEFT_OUT = {
  oldest: [...WITHOUT_BROKER, ...PAGES],
  between: [
    ...WITHOUT_BROKER,
    ...PAGES.filter(([pattern]) => !pattern.startsWith('test/examples/')),
    ...BETWEEN,
  ],
};

/** What a file and PostgreSQL could answer differently; all else has run on the file. */
export const IN_DATABASE = [
  ...[
    'groups',
    'many',
    'tracking',
    'push',
    'presence',
    'devices',
    'history.',
    'recovery',
    'timeline',
    'dead-letters',
    'admin',
    'erasure',
  ].map((name) => `test/integration/${name}`),
  'test/security/edges',
];
