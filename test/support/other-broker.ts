import { existsSync } from 'node:fs';

/** Another RabbitMQ than the machine's: a root directory that has one. All tests run on it then. */
export const brokerRoot = process.env['WARREN_TEST_BROKER_ROOT'];

/**
 * What makes a program that starts a broker by itself start that one: a script that enters the root (tools/brokers.mjs
 * writes it), and files in a place that is called the same inside and outside, which vitest.config.ts sees to.
 */
export function brokerEnvironment(): Record<string, string> {
  const ports = process.env['WARREN_TEST_PORTS'];
  const script = `${brokerRoot ?? ''}/warren/sbin/rabbitmq-server`;
  return {
    ...(ports !== undefined && { WARREN_TEST_PORTS: ports }),
    ...(brokerRoot !== undefined && existsSync(script) && { RABBITMQ_SERVER_SCRIPT: script }),
  };
}
