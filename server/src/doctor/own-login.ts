import { tryLogin } from '../broker/login-probe.js';
import { judgeCertificate } from './certificates.js';
import { ok, problem, type Finding } from './finding.js';

/**
 * The account of WARREN_AMQP_URL by AMQP. Before anything is said of clients' logins: where it fails for want of an
 * address, a certificate or a vhost, theirs would fail for the same reason.
 */
export async function checkOwnLogin(
  amqpUrl: string,
): Promise<{ findings: Finding[]; canTryOthers: boolean }> {
  const url = new URL(amqpUrl);
  const [account, password, vhost] = [url.username, url.password, url.pathname.slice(1)].map(
    decodeURIComponent,
  ) as [string, string, string];
  const { verdict, error } = await tryLogin(amqpUrl, account, password);
  if (verdict === 'accepted') {
    return { findings: [ok(`The account ${account} logs in by AMQP.`)], canTryOthers: true };
  }
  if (verdict === 'refused') {
    const finding = problem(
      `The broker does not let ${account} in by AMQP: there is no such account, or its password is another.`,
      `rabbitmqctl add_user ${account}, or change_password ${account}; and check WARREN_AMQP_URL.`,
    );
    return { findings: [finding], canTryOthers: true };
  }
  return { findings: [explain(url.host, vhost, account, error)], canTryOthers: false };
}

function explain(host: string, vhost: string, account: string, error: unknown): Finding {
  const certificate = judgeCertificate(host, error);
  if (certificate !== undefined) return certificate;
  const text = error instanceof Error ? error.message : '';
  if (/vhost .*not found/.test(text)) return missingVhost(vhost, account);
  if (/vhost .*refused/.test(text)) {
    return problem(
      `${account} may not enter the vhost ${vhost}.`,
      `rabbitmqctl set_permissions -p ${vhost} ${account} …, as docs/operating.md says.`,
    );
  }
  return problem(
    `Nothing speaks AMQP at ${host}${text === '' ? '' : ` (${text})`}.`,
    'Check WARREN_AMQP_URL, that the broker runs, and what lies between.',
  );
}

export function missingVhost(vhost: string, account: string): Finding {
  return problem(
    `There is no vhost ${vhost}.`,
    `rabbitmqctl add_vhost ${vhost}; then permissions in it for ${account}, and "warren provision".`,
  );
}
