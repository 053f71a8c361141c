import { describe, expect, it } from 'vitest';
import { pushDeviceBodySchema } from '@warren/protocol';
import { quietUntil } from '../../server/dist/push/quiet-hours.js';

// Only once or twice a year does a clock change, and no test from outside can wait for it.

/** `hours` as `22:00-07:00`. */
function until(hours: string, timeZone: string, now: string): string | undefined {
  const [from = '', to = ''] = hours.split('-');
  const end = quietUntil({ from, to, timeZone }, Date.parse(now));
  return end === undefined ? undefined : new Date(end).toISOString().slice(0, 16) + 'Z';
}

describe('quiet hours', () => {
  it.each([
    ['22:00-07:00', 'Europe/Berlin', '2026-06-01T20:30:59Z', '2026-06-02T05:00Z'],
    ['22:00-07:00', 'Europe/Berlin', '2026-06-02T05:00Z', undefined],
    ['09:00-17:00', 'America/New_York', '2026-01-05T14:00Z', '2026-01-05T22:00Z'],
    ['09:00-17:00', 'America/New_York', '2026-01-05T13:59:59Z', undefined],
    ['22:00-00:00', 'Asia/Kathmandu', '2026-01-05T17:00Z', '2026-01-05T18:15Z'],
  ])('%s in %s end, asked at %s, at %s', (hours, timeZone, now, end) => {
    expect(until(hours, timeZone, now)).toBe(end);
  });

  it.each([
    ['spring', 'Europe/Berlin', '2026-03-28T22:00Z', '2026-03-29T05:00Z'],
    ['autumn', 'Europe/Berlin', '2026-10-24T21:00Z', '2026-10-25T06:00Z'],
    ['spring', 'America/New_York', '2026-03-08T04:00Z', '2026-03-08T11:00Z'],
    ['autumn', 'America/New_York', '2026-11-01T03:00Z', '2026-11-01T12:00Z'],
    // Half an hour.
    ['spring', 'Australia/Lord_Howe', '2026-10-03T12:00Z', '2026-10-03T20:00Z'],
    ['autumn', 'Australia/Lord_Howe', '2026-04-04T11:30Z', '2026-04-04T20:30Z'],
  ])('end at seven by the clock in the night of the change in %s, %s', (_, zone, now, end) => {
    expect(until('22:00-07:00', zone, now)).toBe(end);
  });

  it('that end at a time which the clock skips end where it skips to', () => {
    expect(until('22:00-02:30', 'Europe/Berlin', '2026-03-28T22:00Z')).toBe('2026-03-29T01:00Z');
    expect(until('22:00-00:30', 'Africa/Cairo', '2026-04-23T20:30Z')).toBe('2026-04-23T22:00Z');
  });

  it('that begin at a time which the clock skips begin where it skips to', () => {
    expect(until('02:30-05:00', 'Europe/Berlin', '2026-03-29T00:59Z')).toBeUndefined();
    expect(until('02:30-05:00', 'Europe/Berlin', '2026-03-29T01:00Z')).toBe('2026-03-29T03:00Z');
  });

  it('that the clock shows twice are quiet twice', () => {
    const asked = (time: string) => until('22:00-02:30', 'Europe/Berlin', `2026-10-25T${time}Z`);
    expect(asked('00:00')).toBe('2026-10-25T00:30Z');
    expect(asked('00:45')).toBeUndefined();
    expect(asked('01:10')).toBe('2026-10-25T01:30Z');
    // Summer time ends before they would.
    expect(until('22:00-03:00', 'Europe/Berlin', '2026-10-25T00:00Z')).toBe('2026-10-25T02:00Z');
  });
});

describe('the time zone of quiet hours', () => {
  const read = (timeZone: string) =>
    pushDeviceBodySchema.safeParse({
      provider: 'webhook',
      token: 'x',
      preferences: { quietHours: { from: '22:00', to: '07:00', timeZone } },
    }).data?.preferences.quietHours?.timeZone;

  it('has one spelling, of millions that mean the same', () => {
    for (const spelling of ['Europe/Berlin', 'europe/berlin', 'eUROPE/bERLIN', 'EUROPE/BERLIN']) {
      expect(read(spelling)).toBe('Europe/Berlin');
    }
  });

  it('must be one', () => {
    expect(read('Europe/Nowhere')).toBeUndefined();
  });
});
