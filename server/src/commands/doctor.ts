import type { TopologyNames } from '@warren/rabbitmq';
import type { ManagementApi } from '../broker/management.js';
import { checkBroker } from '../doctor/broker-checks.js';
import { judgeCertificate } from '../doctor/certificates.js';
import { ok, problem, type Finding } from '../doctor/finding.js';
import { checkLogins, checkStomp } from '../doctor/login-checks.js';
import { checkOrigins } from '../doctor/origin-checks.js';
import { checkOwnLogin } from '../doctor/own-login.js';
import { judgeHost } from '../doctor/versions.js';
import type { MailboxTypeSetting } from '../mailboxes/mailbox-type.js';
import type { ConfigProblem } from '../plaintext.js';
import type { KeyRing } from '../sessions/key-ring.js';

export interface Patient {
  amqpUrl: string;
  management: ManagementApi;
  names: TopologyNames;
  /** Undefined: not given, so that clients' logins are not tried. */
  keys: KeyRing | undefined;
  stompUrls: string[];
  /** Of each node's Prometheus plugin. */
  metricsUrls: string[];
  mailboxType: MailboxTypeSetting;
  /** Origins that may call the API. */
  pages: string[];
  /** What the variables would send in plain text. */
  plaintext: ConfigProblem[];
}

/** Looks at a broker from all sides that Warren needs of it. Changes nothing. */
export async function examine(patient: Patient): Promise<Finding[]> {
  const { amqpUrl, management, names, keys, stompUrls, pages, plaintext } = patient;
  const { hostname, username } = new URL(amqpUrl);
  const account = decodeURIComponent(username);
  const findings = judgeHost(hostname);
  for (const { variable, message } of plaintext) {
    findings.push(problem(`What ${variable} leads to is not encrypted.`, `It ${message}.`));
  }
  findings.push(...(await attempt(management.host, checkBroker(patient, account))));
  const own = await checkOwnLogin(amqpUrl);
  findings.push(...own.findings);
  if (keys === undefined) {
    findings.push(problem('No signing key to try logins with.', 'Set WARREN_SIGNING_KEY_FILE.'));
  } else if (own.canTryOthers) {
    findings.push(...(await attempt(hostname, checkLogins(amqpUrl, keys))));
  }
  const version = await management.version().catch(() => undefined);
  for (const url of stompUrls) {
    const { host } = new URL(url);
    findings.push(...(await attempt(host, checkStomp(url, names.vhost))));
    findings.push(...(await attempt(host, checkOrigins(url, version, pages))));
  }
  return unique(findings);
}

async function attempt(host: string, checking: Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await checking;
  } catch (error) {
    const certificate = judgeCertificate(host, error);
    if (certificate !== undefined) return [certificate];
    const why = error instanceof Error ? error.message : 'A check failed.';
    return [problem(why, 'Check the address and that the broker runs.')];
  }
}

/** One certificate, or one missing vhost, is found from several sides. */
const unique = (findings: Finding[]): Finding[] => [
  ...new Map(findings.map((finding) => [finding.what, finding])).values(),
];

const MARKS = { ok: '✓', warning: '!', problem: '✗' };

/** For a person to read, the worst last. */
export function report(findings: Finding[]): string {
  const lines = (['ok', 'warning', 'problem'] as const).flatMap((level) =>
    findings
      .filter((finding) => finding.level === level)
      .map(
        ({ what, remedy }) =>
          `  ${MARKS[level]} ${what}${remedy === undefined ? '' : `\n      ${remedy}`}`,
      ),
  );
  const count = (level: Finding['level']) =>
    findings.filter((finding) => finding.level === level).length;
  const summary =
    count('problem') === 0
      ? ok(`It can be used; ${String(count('warning'))} things could be better.`).what
      : `${String(count('problem'))} problems to mend first.`;
  return `${lines.join('\n')}\n\n  ${summary}\n`;
}
