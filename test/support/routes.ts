/** The operations of the API that a stranger can find in `GET /openapi.json`. */
export const KNOWN_ROUTES = [
  { method: 'POST', path: '/v1/messages' },
  { method: 'POST', path: '/v1/sessions' },
  { method: 'DELETE', path: '/v1/sessions/{id}' },
  { method: 'PUT', path: '/v1/users/{id}' },
  { method: 'GET', path: '/v1/users/{id}' },
  { method: 'DELETE', path: '/v1/users/{id}' },
  { method: 'POST', path: '/v1/users/{id}/disconnect' },
  { method: 'POST', path: '/v1/users/{id}/tokens' },
  { method: 'GET', path: '/{id}' },
  { method: 'POST', path: '/v1/{id}' },
];
