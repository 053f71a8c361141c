import type { QuietHours } from '@warren/protocol';

const MINUTE_MS = 60_000;
const DAY_MINUTES = 24 * 60;

/** When they end, in milliseconds since 1970; undefined when they are not now. */
export function quietUntil({ from, to, timeZone }: QuietHours, now: number): number | undefined {
  const minute = minuteOfDay(now, timeZone);
  const [begin, end] = [minutesOf(from), minutesOf(to)];
  const isQuiet = begin < end ? minute >= begin && minute < end : minute >= begin || minute < end;
  if (!isQuiet) return undefined;
  // Where clocks change in between, it is looked at again then.
  const left = (end - minute + DAY_MINUTES) % DAY_MINUTES;
  return now - (now % MINUTE_MS) + left * MINUTE_MS;
}

function minutesOf(time: string): number {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  return hours * 60 + minutes;
}

const clocks = new Map<string, Intl.DateTimeFormat>();

/** Making a clock takes much longer than reading it. There are some 400 time zones. */
function minuteOfDay(now: number, timeZone: string): number {
  let clock = clocks.get(timeZone);
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat('en-GB', { timeZone, hour: '2-digit', minute: '2-digit' });
    clocks.set(timeZone, clock);
  }
  return minutesOf(clock.format(now));
}
