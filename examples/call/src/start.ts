import { startExample } from '@warren/example-common';
import { call } from './call.js';

await startExample(call);
