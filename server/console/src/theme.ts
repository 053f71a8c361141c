import {
  createTheme,
  defaultVariantColorsResolver,
  parseThemeColor,
  type VariantColorsResolver,
} from '@mantine/core';
import { setNonce } from 'get-nonce';

/** The server gives each page a number of its own; styles without it are refused. */
export const nonce = (): string =>
  document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.nonce ?? '';

// What keeps the page from scrolling behind a dialog writes styles, too.
setNonce(nonce());

/** The library's light badges are too pale to be read by everybody (WCAG asks for 4.5 to 1). */
const variantColorResolver: VariantColorsResolver = (input) => {
  const resolved = defaultVariantColorsResolver(input);
  if (input.variant !== 'light') return resolved;
  const { color } = parseThemeColor({
    color: input.color ?? input.theme.primaryColor,
    theme: input.theme,
  });
  const dark = `color-mix(in srgb, var(--mantine-color-${color}-9), black 40%)`;
  return { ...resolved, color: `light-dark(${dark}, var(--mantine-color-${color}-2))` };
};

export const theme = createTheme({
  primaryColor: 'teal',
  primaryShade: { light: 9, dark: 8 },
  defaultRadius: 'sm',
  cursorType: 'pointer',
  variantColorResolver,
  components: {
    // What is too wide is scrolled by the keyboard, too.
    TableScrollContainer: {
      defaultProps: { scrollAreaProps: { viewportProps: { tabIndex: 0 } } },
    },
  },
});
