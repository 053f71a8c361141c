/** The value below which the part `p` (0 to 1) of all values lies. */
export function percentile(values: number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? NaN;
}

export const median = (values: number[]): number => percentile(values, 0.5);

/** The median over rounds of one contender's figure by another's of the same round. */
export function medianRatio(ours: number[], theirs: number[]): number {
  return median(ours.map((value, round) => value / (theirs[round] ?? NaN)));
}

/** Prints a table: one row for each contender. */
export function printTable(title: string, rows: Record<string, string>[]): void {
  const columns = Object.keys(rows[0] ?? {});
  const width = (column: string) =>
    Math.max(column.length, ...rows.map((row) => (row[column] ?? '').length));
  const line = (cells: (column: string) => string) =>
    columns
      .map((column, index) =>
        index === 0 ? cells(column).padEnd(width(column)) : cells(column).padStart(width(column)),
      )
      .join('  ');
  const text = [
    line((column) => column),
    ...rows.map((row) => line((column) => row[column] ?? '')),
  ];
  process.stdout.write(`\n${title}\n${text.map((row) => `  ${row}`).join('\n')}\n`);
}
