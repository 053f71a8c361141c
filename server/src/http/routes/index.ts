import type { Route } from '../route.js';
import { groupRoutes } from './groups.js';
import { messageRoutes } from './messages.js';
import { operationRoutes } from './operations.js';
import type { Services } from './services.js';
import { sessionRoutes } from './sessions.js';
import { cutOffRoutes, userRoutes } from './users.js';

/** All operations of the API. */
export function createRoutes(services: Services): Route[] {
  return [
    ...messageRoutes(services),
    ...groupRoutes(services),
    ...userRoutes(services),
    ...cutOffRoutes(services),
    ...sessionRoutes(services),
    ...operationRoutes(services),
  ];
}
