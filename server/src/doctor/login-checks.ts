import { createHmac } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { probeLogin } from '../broker/login-probe.js';
import { BROKER_AUDIENCE } from '../sessions/client-tokens.js';
import type { KeyRing } from '../sessions/key-ring.js';
import { judgeCertificate } from './certificates.js';
import { ok, problem, warning, type Finding } from './finding.js';
import { shakeHands } from './handshake.js';

/** Names no queue. */
const NOBODY = 'warren.doctor';
const TIMEOUT_MS = 3000;
const OAUTH = 'See the lines auth_… of rabbitmq.conf; then restart the node.';

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Tokens that a broker must refuse, by what it forgets to check when it takes them. */
function forgeries(keys: KeyRing, vhost: string): [remedy: string, what: string, token: string][] {
  const { privateKey, publicKey, kid } = keys.signing;
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    sub: NOBODY,
    aud: BROKER_AUDIENCE,
    scope: [`${BROKER_AUDIENCE}.read:${vhost}/${NOBODY}`],
    iat: now,
    exp: now + 60,
  };
  const sign = (changed: object): string =>
    jwt.sign({ ...claims, ...changed }, privateKey, { algorithm: 'RS256', keyid: kid });
  const confused = `${part({ alg: 'HS256', typ: 'JWT', kid })}.${part(claims)}`;
  const mac = createHmac('sha256', publicKey).update(confused).digest('base64url');
  const pin = 'auth_oauth2.algorithms.1 = RS256';
  return [
    [pin, 'without a signature', `${part({ alg: 'none', kid })}.${part(claims)}.`],
    [pin, 'signed with its public key', `${confused}.${mac}`],
    ['auth_oauth2.resource_server_id = warren', 'for another audience', sign({ aud: 'other' })],
    ['Check the clock of the broker.', 'that has expired', sign({ iat: now - 120, exp: now - 60 })],
  ];
}

/** Tries the front door: what must get in does, what must not does not. */
export async function checkLogins(amqpUrl: string, keys: KeyRing): Promise<Finding[]> {
  const vhost = new URL(amqpUrl).pathname.slice(1);
  const now = Math.floor(Date.now() / 1000);
  const good = jwt.sign(
    {
      sub: NOBODY,
      aud: BROKER_AUDIENCE,
      scope: [`${BROKER_AUDIENCE}.read:${vhost}/${NOBODY}`],
      iat: now,
      exp: now + 60,
    },
    keys.signing.privateKey,
    { algorithm: 'RS256', keyid: keys.signing.kid },
  );
  const verdict = await probeLogin(amqpUrl, NOBODY, good);
  if (verdict === 'unreachable') {
    return [
      problem(
        `The broker did not answer a login with a token (key ${keys.signing.kid}).`,
        'Look for it in the log of the node.',
      ),
    ];
  }
  if (verdict === 'refused') {
    return [
      problem(
        `The broker refuses clients' tokens (key ${keys.signing.kid}).`,
        'Enable rabbitmq_auth_backend_oauth2, give it the public half of WARREN_SIGNING_KEY under this ' +
          'id, and name it in auth_backends (docs/operating.md).',
      ),
    ];
  }
  const findings = [ok("The broker accepts clients' tokens.")];
  for (const [remedy, what, token] of forgeries(keys, vhost)) {
    if ((await probeLogin(amqpUrl, NOBODY, token)) !== 'accepted') continue;
    findings.push(problem(`The broker accepts a token ${what}.`, `${remedy} ${OAUTH}`));
  }
  for (const [login, password] of [
    ['guest', 'guest'],
    [NOBODY, ''],
  ] as const) {
    if ((await probeLogin(amqpUrl, login, password)) !== 'accepted') continue;
    findings.push(problem(`The broker lets "${login}" in.`, 'Delete that account.'));
  }
  if (findings.length === 1) findings.push(ok('It refuses forged ones, guest, and nobody.'));
  return findings;
}

/** What a stranger can do on the address for browsers before a login. */
export async function checkStomp(url: string, vhost: string): Promise<Finding[]> {
  const { socket, ...failure } = await shakeHands(url);
  if (socket === undefined) return [explain(url, failure)];
  const findings: Finding[] = [];
  if (socket.extensions.includes('permessage-deflate')) {
    findings.push(
      warning(
        `${url} compresses, which costs memory for each connection and can be used as a bomb.`,
        'web_stomp.ws_opts.compress = false',
      ),
    );
  }
  socket.terminate();
  for (const login of ['', 'login:guest\npasscode:guest\n']) {
    if ((await talk(url, `CONNECT\naccept-version:1.2\nhost:${vhost}\n${login}\n\0`)) === 'in') {
      findings.push(
        problem(
          `${url} lets strangers in${login === '' ? ' who send no login' : ' as guest'}.`,
          'rabbitmqctl delete_user guest; web_stomp.use_http_auth = false',
        ),
      );
    }
  }
  // Twice the limit in rabbitmq.conf.
  if ((await talk(url, `CONNECT\nx:${'x'.repeat(131_072)}`)) !== 'closed') {
    findings.push(
      warning(
        `${url} takes frames of any size before a login.`,
        'web_stomp.ws_opts.max_frame_size = 65536',
      ),
    );
  }
  return findings.length > 0 ? findings : [ok(`${url} is open to clients with tokens alone.`)];
}

function explain(url: string, { status, error }: { status?: number; error?: Error }): Finding {
  const certificate = judgeCertificate(new URL(url).host, error);
  if (certificate !== undefined) return certificate;
  const answer = status === undefined ? (error?.message ?? '') : `HTTP ${String(status)}`;
  return problem(
    `Nothing speaks Web-STOMP at ${url}${answer === '' ? '' : ` (${answer})`}.`,
    'Enable rabbitmq_web_stomp; check the address, web_stomp.ws_path and the proxy before it.',
  );
}

/** Sends one frame and looks what comes of it. */
async function talk(url: string, frame: string): Promise<'in' | 'refused' | 'closed' | 'silent'> {
  const { socket } = await shakeHands(url);
  if (socket === undefined) return 'closed';
  try {
    return await new Promise((resolve) => {
      const timer = setTimeout(resolve, TIMEOUT_MS, 'silent');
      socket.on('message', (data: Buffer) => {
        clearTimeout(timer);
        resolve(data.toString('utf8').startsWith('CONNECTED') ? 'in' : 'refused');
      });
      socket.on('close', () => {
        clearTimeout(timer);
        resolve('closed');
      });
      socket.send(frame);
    });
  } finally {
    socket.terminate();
  }
}
