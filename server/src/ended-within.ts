/** Longer ones fire at once (`setTimeout`); 24 days, in milliseconds. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Resolves to whether `promise` ended within `ms` milliseconds; its rejection counts as an end. */
export async function endedWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(
      () => {
        resolve(false);
      },
      Math.min(ms, MAX_TIMER_MS),
    );
  });
  const done = promise.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([done, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** As `Promise.all`; also one that fails is told only when all have ended. */
export async function allEnded(promises: Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(promises);
  await Promise.all(promises);
}
