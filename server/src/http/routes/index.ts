import type { Route } from '../route.js';
import { adminRoutes } from './admin.js';
import { groupRoutes } from './groups.js';
import { historyRoutes } from './history.js';
import { meRoutes } from './me.js';
import { messageRoutes } from './messages.js';
import { operationRoutes } from './operations.js';
import { presenceRoutes } from './presence.js';
import { pushRoutes } from './push.js';
import type { Services } from './services.js';
import { sessionRoutes } from './sessions.js';
import { cutOffRoutes, userRoutes } from './users.js';

/** All operations of the API. */
export function createRoutes(services: Services): Route[] {
  const routes = [
    ...messageRoutes(services),
    ...groupRoutes(services),
    ...historyRoutes(services),
    ...presenceRoutes(services),
    ...userRoutes(services),
    ...cutOffRoutes(services),
    ...sessionRoutes(services),
    ...meRoutes(services),
    ...pushRoutes(services),
    ...operationRoutes(services),
  ];
  return [...routes, ...adminRoutes(services, routes)];
}
