import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createLogger } from '../../server/dist/logger.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

interface Line {
  msg: string;
  level: number;
  index?: number;
  omitted?: number;
}

function recorded(level: 'info' | 'debug') {
  const lines: Line[] = [];
  const logger = createLogger(level, {
    write: (line) => {
      lines.push(JSON.parse(line) as Line);
    },
  });
  return { lines, logger };
}

it('a text that is logged in a flood is written sixty times a minute, then how often it was not', () => {
  const { lines, logger } = recorded('info');
  for (let index = 0; index < 1000; index++) logger.warn({ index }, 'a flood');
  logger.error('a flood');
  logger.info('something else');
  expect(lines.filter(({ level }) => level === 40).map(({ index }) => index)).toEqual(
    Array.from({ length: 60 }, (_, index) => index),
  );
  expect(lines.slice(60).map(({ msg }) => msg)).toEqual(['a flood', 'something else']);
  lines.length = 0;
  vi.advanceTimersByTime(60_000);
  expect(lines).toMatchObject([{ msg: 'a flood', level: 40, omitted: 940 }]);
  logger.warn('a flood');
  expect(lines).toHaveLength(2);
});

it('who asks for all of it gets all of it', () => {
  const { lines, logger } = recorded('debug');
  for (let index = 0; index < 1000; index++) logger.debug({ index }, 'a flood');
  expect(lines).toHaveLength(1000);
});

it('that holds for whatever is written by default', () => {
  const { lines, logger } = recorded('info');
  for (let index = 0; index < 1000; index++) logger.info('a flood of news');
  expect(lines).toHaveLength(60);
});
