import { request } from 'node:http';

/** The status of a request that names another host than it goes to, which fetch() does not let be done. */
export function statusWithHost(
  url: string,
  host: string,
  { method = 'GET', body }: { method?: string; body?: object } = {},
): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { host, 'content-type': 'application/json' };
    const asked = request(url, { method, headers }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.on('error', reject);
    asked.end(body && JSON.stringify(body));
  });
}
