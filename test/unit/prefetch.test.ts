import { expect, it } from 'vitest';
import { Prefetch, type InHand } from '../../server/dist/broker/prefetch.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** As a broker hands out and a consumer takes, one after the other. @returns how many were not held. */
function run(inHand: InHand, count: number, bytes: number): number {
  let refused = 0;
  for (let index = 0; index < count; index++) {
    if (inHand.take(bytes)) inHand.release(bytes);
    else refused++;
  }
  return refused;
}

/** All at once. @returns how many were held. */
function fill(inHand: InHand, bytes: number): number {
  let held = 0;
  while (held < inHand.count && inHand.take(bytes)) held++;
  for (let index = 0; index < held; index++) inHand.release(bytes);
  return held;
}

it('as many messages of a usual size are taken ahead as ever', () => {
  const prefetch = new Prefetch(1000);
  for (let round = 0; round < 10; round++) {
    const inHand = prefetch.begin();
    expect(inHand.count).toBe(1000);
    expect(fill(inHand, 30 * KIB)).toBe(1000);
    expect(inHand.drained.aborted).toBe(false);
  }
});

it('of large messages so many are held as fit 32 MiB, and then no more are sent ahead', () => {
  const prefetch = new Prefetch(1000);
  const first = prefetch.begin();
  expect(fill(first, 2 * MIB)).toBe(16);
  expect(first.drained.aborted).toBe(true);
  const second = prefetch.begin();
  expect(second.count).toBe(16);
  expect(fill(second, 2 * MIB)).toBe(16);
  expect(second.drained.aborted).toBe(false);
  // One that is larger than all together is held, alone.
  expect(run(second, 1, 128 * MIB)).toBe(0);
  expect(fill(second, 20 * MIB)).toBe(1);
  expect(prefetch.begin().count).toBe(1);
});

it('a thousand smaller ones later there are as many as before', () => {
  const prefetch = new Prefetch(1000);
  fill(prefetch.begin(), 4 * MIB);
  const few = prefetch.begin();
  expect(few.count).toBe(8);
  expect(run(few, 999, KIB)).toBe(0);
  expect(few.drained.aborted).toBe(false);
  expect(run(few, 1, KIB)).toBe(0);
  expect(few.drained.aborted).toBe(true);
  expect(prefetch.begin().count).toBe(1000);
});

it('what a lost channel held is not counted on the next', () => {
  const prefetch = new Prefetch(1000);
  const lost = prefetch.begin();
  expect(lost.take(30 * MIB)).toBe(true);
  const next = prefetch.begin();
  expect(next.take(30 * MIB)).toBe(true);
  lost.release(30 * MIB);
  expect(next.take(30 * MIB)).toBe(false);
});
