export interface ConfigProblem {
  variable: string;
  message: string;
}

/** What may be told to do without encryption, each by itself. */
export const PLAINTEXT_PARTS = [
  'http',
  'broker',
  'clients',
  'keys',
  'database',
  'webhooks',
] as const;
type PlaintextPart = (typeof PLAINTEXT_PARTS)[number];

const list = (text = ''): string[] => text.split(',').map((entry) => entry.trim());

/** Which addresses carry what must not be read on the way. */
const ADDRESSES: Record<string, PlaintextPart> = {
  WARREN_AMQP_URL: 'broker',
  WARREN_MANAGEMENT_URL: 'broker',
  WARREN_PUBLIC_STOMP_URL: 'clients',
  WARREN_PUBLIC_AMQP_URL: 'clients',
  WARREN_USER_JWT_JWKS_URL: 'keys',
  WARREN_DATABASE_URL: 'database',
  WARREN_WEBHOOK_URL: 'webhooks',
  WARREN_POLICY_URL: 'webhooks',
  WARREN_PUSH_WEBHOOK_URL: 'webhooks',
  WARREN_FCM_URL: 'webhooks',
};

/** All that {@link findPlaintext} looks at. */
export const PLAINTEXT_VARIABLES = [...Object.keys(ADDRESSES), 'WARREN_ALLOW_PLAINTEXT'];

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(host);

function isPlain(address: string): boolean {
  if (!URL.canParse(address)) return false;
  const { protocol, hostname, searchParams } = new URL(address);
  if (isLoopback(hostname)) return false;
  // node-postgres takes "require" for "verify-full"; "prefer" and "no-verify" do not check who answers.
  if (protocol.startsWith('postgres')) {
    return !/^(require|verify-ca|verify-full)$/.test(searchParams.get('sslmode') ?? '');
  }
  return ['amqp:', 'http:', 'ws:'].includes(protocol);
}

/** What would leave this machine unencrypted, unless `WARREN_ALLOW_PLAINTEXT` says that it may. */
export function findPlaintext(
  values: Record<string, string | undefined>,
  isEmbedded: boolean,
): ConfigProblem[] {
  const allowed = list(values['WARREN_ALLOW_PLAINTEXT']);
  const refuse = (variable: string, part: PlaintextPart, what: string): ConfigProblem[] =>
    allowed.includes(part)
      ? []
      : [
          {
            variable,
            message: `${what}; if something else encrypts it, add "${part}" to WARREN_ALLOW_PLAINTEXT`,
          },
        ];
  const problems = Object.entries(ADDRESSES).flatMap(([variable, part]) =>
    list(values[variable]).some(isPlain)
      ? refuse(
          variable,
          part,
          'would not be encrypted: use amqps, wss, https or sslmode=verify-full',
        )
      : [],
  );
  const host = values['WARREN_HOST'];
  if (!isEmbedded && host !== undefined && !isLoopback(host) && !values['WARREN_TLS_CERT']) {
    problems.push(...refuse('WARREN_HOST', 'http', 'needs WARREN_TLS_CERT and WARREN_TLS_KEY'));
  }
  return problems;
}
