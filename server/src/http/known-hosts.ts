import type { RequestHandler } from 'express';
import { HttpProblem } from '../problem.js';

const LOCAL_HOSTS = ['localhost', '127.0.0.1', '[::1]'];
/** Each request there brings a token, which no page of another site has. */
const API = '/v1/';

/**
 * Refuses requests that name another host than a known one: of a page whose own name has been made to lead here (DNS
 * rebinding), so that the browser takes what answers for that page's site. The API asks for tokens instead.
 * @param hosts without ports. Default: those of this machine.
 */
export function knownHosts(hosts: readonly string[] = LOCAL_HOSTS): RequestHandler {
  return ({ path, headers }, _response, next) => {
    const host = (headers.host ?? '').replace(/:\d+$/, '');
    if (!path.startsWith(API) && !hosts.includes(host)) throw new HttpProblem('forbidden_host');
    next();
  };
}
