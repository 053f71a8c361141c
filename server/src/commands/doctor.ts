import type { TopologyNames } from '@warren/rabbitmq';
import type { ManagementApi } from '../broker/management.js';
import { checkBroker } from '../doctor/broker-checks.js';
import { ok, problem, type Finding } from '../doctor/finding.js';
import { checkLogins, checkStomp } from '../doctor/login-checks.js';
import { judgeHost } from '../doctor/versions.js';
import type { ConfigProblem } from '../plaintext.js';
import type { KeyRing } from '../sessions/key-ring.js';

export interface Patient {
  amqpUrl: string;
  management: ManagementApi;
  names: TopologyNames;
  /** Undefined: not given, so that clients' logins are not tried. */
  keys: KeyRing | undefined;
  stompUrls: string[];
  /** What the variables would send in plain text. */
  plaintext: ConfigProblem[];
}

/** Looks at a broker from all sides that Warren needs of it. Changes nothing. */
export async function examine(patient: Patient): Promise<Finding[]> {
  const { amqpUrl, management, names, keys, stompUrls, plaintext } = patient;
  const { hostname, username } = new URL(amqpUrl);
  const findings = judgeHost(hostname);
  for (const { variable, message } of plaintext) {
    findings.push(problem(`What ${variable} leads to is not encrypted.`, `It ${message}.`));
  }
  findings.push(...(await attempt(checkBroker(management, names, decodeURIComponent(username)))));
  if (keys === undefined) {
    findings.push(problem('No signing key to try logins with.', 'Set WARREN_SIGNING_KEY_FILE.'));
  } else findings.push(...(await attempt(checkLogins(amqpUrl, keys))));
  for (const url of stompUrls) findings.push(...(await attempt(checkStomp(url, names.vhost))));
  return findings;
}

async function attempt(checking: Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await checking;
  } catch (error) {
    const why = error instanceof Error ? error.message : 'A check failed.';
    return [problem(why, 'Check the address and that the broker runs.')];
  }
}

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
