import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Client, Gap, Message } from '@warren/client';
import { startBackground } from '../support/background.js';
import { QueueWatch } from '../support/queue-watch.js';
import {
  request,
  startStack,
  TRANSPORTS,
  uniqueUser,
  userToken,
  type ApiReply,
  type Stack,
} from '../support/stack.js';
import { until } from '../support/until.js';

let stack: Stack;
let watch: QueueWatch;
beforeAll(async () => {
  stack = await startStack();
  watch = await QueueWatch.open();
});
afterAll(async () => {
  await watch.close();
  await stack.close();
});
