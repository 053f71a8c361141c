import { judgeCertificate } from './certificates.js';
import { warning, type Finding } from './finding.js';

const TIMEOUT_MS = 3000;

/** Of one node, as its Prometheus plugin tells; the management API does not where statistics are off. */
export type NodeMetrics = { maxOpenFiles: number } | { maxOpenFiles?: undefined; finding: Finding };

/** @param url of the plugin. */
export async function readMetrics(url: string): Promise<NodeMetrics> {
  const { host } = new URL(url);
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await response.text();
    const found = /^rabbitmq_process_max_fds (\S+)/m.exec(text);
    if (found !== null) return { maxOpenFiles: Number(found[1]) };
    return { finding: silent(host, response.ok ? 'others' : `HTTP ${String(response.status)}`) };
  } catch (error) {
    return { finding: judgeCertificate(host, error) ?? silent(host, codeOf(error)) };
  }
}

function silent(host: string, why: string): Finding {
  return warning(
    `RabbitMQ's metrics are not at ${host} (${why}): the console shows no messages a second, and open files were not checked.`,
    'rabbitmq-plugins enable rabbitmq_prometheus; check WARREN_BROKER_METRICS_URL.',
  );
}

/** A code alone: the message may hold the address, and that a password. */
function codeOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'no answer';
}
