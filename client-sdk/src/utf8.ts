/** What the SDK and @stomp/stompjs need of TextEncoder. */
class Encoder {
  encode(text: string): Uint8Array {
    const binary = encodeURIComponent(text).replace(/%(..)/g, (_, hex: string) =>
      String.fromCharCode(parseInt(hex, 16)),
    );
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  }
}

/** Throws on what is no UTF-8, whether it was asked to or not. */
class Decoder {
  decode(bytes: ArrayLike<number>): string {
    let escaped = '';
    for (const byte of Array.from(bytes)) escaped += `%${(byte + 256).toString(16).slice(1)}`;
    return decodeURIComponent(escaped);
  }
}

/** A text as UTF-8. */
export function toBytes(text: string): Uint8Array {
  installTextCodec();
  return new TextEncoder().encode(text);
}

/**
 * Puts a TextEncoder and a TextDecoder in place where there are none (older Hermes, JavaScriptCore):
 * @stomp/stompjs cannot do without, and looks for them among the globals alone.
 */
export function installTextCodec(): void {
  const place = globalThis as { TextEncoder?: unknown; TextDecoder?: unknown };
  place.TextEncoder ??= Encoder;
  place.TextDecoder ??= Decoder;
}
