import { createHash } from 'node:crypto';

/**
 * A fanout with very many queues is spread over so many: from RabbitMQ 4.2 on, binding a queue to a fanout
 * takes the longer the more are bound to it (30 ms of the broker's CPU at 50,000, where the first takes half
 * of one), since all its bindings lie under one key (rabbitmq-server#15588). One publish reaches all of them.
 */
export const FANOUT_SHARDS = 128;

/** The exchanges that a fanout is spread over, beside the one of its own name. */
export const shardsOf = (fanout: string): string[] =>
  Array.from({ length: FANOUT_SHARDS }, (_, index) => shard(fanout, index));

/** The one of them that a queue is bound to. */
export const shardFor = (fanout: string, queue: string): string =>
  shard(fanout, createHash('sha256').update(queue).digest().readUInt16BE(0) % FANOUT_SHARDS);

const shard = (fanout: string, index: number): string => `${fanout}.${String(index)}`;
