import { startExample } from '@warren/example-common';
import { progress } from './progress.js';

await startExample(progress);
