import { CHECKS_ORIGINS, isAtLeast, type Version } from '@warren/rabbitmq';
import { ok, problem, warning, type Finding } from './finding.js';
import { shakeHands } from './handshake.js';

/** Nobody's page: the name can never be registered. */
const STRANGER = 'https://warren-doctor.invalid';

/**
 * Which pages' WebSockets are let in. Tried from outside, since no API tells the setting, and a proxy may decide it.
 *
 * @param pages origins that may call the API.
 */
export async function checkOrigins(
  url: string,
  version: Version | undefined,
  pages: string[],
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const takesAny = await isLetIn(url, STRANGER);
  if (takesAny && isAtLeast(version, CHECKS_ORIGINS)) {
    findings.push(
      warning(
        `${url} takes WebSockets from any page.`,
        'web_stomp.allow_origins.1 = https://app.example.com, and one more for each origin of your pages.',
      ),
    );
  }
  // One that lets strangers in lets them in too.
  for (const page of takesAny ? [] : pages.filter((page) => page !== '*')) {
    if (await isLetIn(url, page)) continue;
    findings.push(
      problem(
        `${url} refuses WebSockets from ${page}, whose pages may call the API.`,
        `web_stomp.allow_origins.<n> = ${page}`,
      ),
    );
  }
  if (findings.length > 0 || takesAny) return findings;
  return [ok(`${url} takes WebSockets from the pages that it knows.`)];
}

async function isLetIn(url: string, origin: string): Promise<boolean> {
  const { socket } = await shakeHands(url, origin);
  socket?.terminate();
  return socket !== undefined;
}
