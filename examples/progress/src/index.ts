export { progress } from './progress.js';
