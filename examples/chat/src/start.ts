import { startExample } from '@warren/example-common';
import { chat } from './chat.js';

await startExample(chat);
