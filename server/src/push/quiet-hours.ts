import type { QuietHours } from '@warren/protocol';

const MINUTE_MS = 60_000;
const DAY_MINUTES = 24 * 60;

/**
 * When they end, in milliseconds since 1970; undefined when they are not now. It is quiet whenever the zone's clock
 * says so: an end that the clock skips is where it skips to, and hours that it shows twice are quiet twice.
 */
export function quietUntil({ from, to, timeZone }: QuietHours, now: number): number | undefined {
  const [begin, end] = [minutesOf(from), minutesOf(to)];
  const isQuiet = (minute: number): boolean =>
    begin < end ? minute >= begin && minute < end : minute >= begin || minute < end;
  const first = now - (now % MINUTE_MS);
  for (let at = first; ;) {
    const minute = minuteOfDay(at, timeZone);
    if (!isQuiet(minute)) return at === first ? undefined : at;
    const left = (end - minute + DAY_MINUTES) % DAY_MINUTES;
    at += minutesUntilChange(at, left, timeZone) * MINUTE_MS;
  }
}

/** After how many minutes the clock is changed, at most `most`. No zone changes it twice in a day. */
function minutesUntilChange(at: number, most: number, timeZone: string): number {
  const minute = minuteOfDay(at, timeZone);
  const isChanged = (after: number): boolean =>
    minuteOfDay(at + after * MINUTE_MS, timeZone) !== (minute + after) % DAY_MINUTES;
  if (!isChanged(most)) return most;
  let [before, after] = [0, most];
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (isChanged(middle)) after = middle;
    else before = middle;
  }
  return after;
}

function minutesOf(time: string): number {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  return hours * 60 + minutes;
}

const clocks = new Map<string, Intl.DateTimeFormat>();

/** Making a clock takes much longer than reading it. There are some 400 time zones, each with one spelling here. */
function minuteOfDay(now: number, timeZone: string): number {
  let clock = clocks.get(timeZone);
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat('en-GB', { timeZone, hour: '2-digit', minute: '2-digit' });
    clocks.set(timeZone, clock);
  }
  return minutesOf(clock.format(now));
}
