export { logins, userOf } from './logins.js';
export { exampleContext, startExample, type Example, type ExampleContext } from './start.js';
export { WarrenApi } from './warren-api.js';
