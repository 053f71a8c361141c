/** Has the commands name the data directory, where it is not the usual one. */
export async function showPlace(): Promise<void> {
  const response = await fetch('/demo/api/place');
  const { dataDir } = (await response.json()) as { dataDir: string | null };
  if (dataDir === null) return;
  for (const command of document.querySelectorAll<HTMLElement>('[data-place]')) {
    const place = (command.dataset['place'] ?? '').replace(/DIR(\S*)/, (_, file: string) =>
      quoted(dataDir + file),
    );
    command.append(` ${place}`);
  }
}

/** As a shell takes it for one word. */
const quoted = (text: string): string =>
  /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
