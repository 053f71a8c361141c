/**
 * Waits for a condition; asks every few milliseconds. Fails with what `describe` says when it does
 * not come true in time.
 */
export async function until(
  condition: () => boolean | Promise<boolean>,
  describe: string | (() => string | Promise<string>) = 'the condition',
  timeoutMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) {
      throw new Error(`Not in time: ${typeof describe === 'string' ? describe : await describe()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
