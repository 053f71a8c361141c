import { isAccessRefused, tryLogin } from '../broker/login-probe.js';
import { judgeCertificate } from './certificates.js';
import { ok, problem, type Finding } from './finding.js';

/**
 * The account of WARREN_AMQP_URL by AMQP. Before anything is said of clients' logins: where it fails for want of an
 * address, a certificate or a vhost, theirs would fail for the same reason.
 */
export async function checkOwnLogin(
  amqpUrl: string,
): Promise<{ findings: Finding[]; canTryOthers: boolean }> {
  const { account, password } = partsOf(amqpUrl);
  const { verdict, error } = await tryLogin(amqpUrl, account, password);
  if (verdict === 'accepted') {
    return { findings: [ok(`The account ${account} logs in by AMQP.`)], canTryOthers: true };
  }
  const finding = judgeLogin(amqpUrl, error) ?? silent(amqpUrl, error);
  return { findings: [finding], canTryOthers: verdict === 'refused' };
}

/** Why the broker of this address let nobody in; undefined when it is not known, as where nothing answers. */
export function judgeLogin(amqpUrl: string, error: unknown): Finding | undefined {
  const { host, vhost, account } = partsOf(amqpUrl);
  if (isAccessRefused(error)) {
    return problem(
      `The broker does not let ${account} in by AMQP: there is no such account, or its password is another.`,
      `rabbitmqctl add_user ${account}, or change_password ${account}; and check WARREN_AMQP_URL.`,
    );
  }
  const text = error instanceof Error ? error.message : '';
  if (/vhost .*not found/.test(text)) return missingVhost(vhost, account);
  if (/vhost .*refused/.test(text)) {
    return problem(
      `${account} may not enter the vhost ${vhost}.`,
      `rabbitmqctl set_permissions -p ${vhost} ${account} …, as docs/operating.md says.`,
    );
  }
  return judgeCertificate(host, error);
}

function silent(amqpUrl: string, error: unknown): Finding {
  const text = error instanceof Error ? ` (${error.message})` : '';
  return problem(
    `Nothing speaks AMQP at ${partsOf(amqpUrl).host}${text}.`,
    'Check WARREN_AMQP_URL, that the broker runs, and what lies between.',
  );
}

function partsOf(amqpUrl: string): Record<'host' | 'account' | 'password' | 'vhost', string> {
  const { host, username, password, pathname } = new URL(amqpUrl);
  return {
    host,
    account: decodeURIComponent(username),
    password: decodeURIComponent(password),
    vhost: decodeURIComponent(pathname.slice(1)),
  };
}

export function missingVhost(vhost: string, account: string): Finding {
  return problem(
    `There is no vhost ${vhost}.`,
    `rabbitmqctl add_vhost ${vhost}; then permissions in it for ${account}, and "warren provision".`,
  );
}
