import { startExample } from '@warren/example-common';
import { notification } from './notification.js';

await startExample(notification);
