export { notification } from './notification.js';
