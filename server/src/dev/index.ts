export { knownHosts } from '../http/known-hosts.js';
export { fail, readFlags, runUp } from './run.js';
export { readDevInfo, type DevInfo } from './state.js';
export { up, type Running, type UpOptions } from './up.js';
