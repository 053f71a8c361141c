/** What the SDK and @stomp/stompjs need of TextEncoder. */
class Encoder {
  encode(text: string): Uint8Array<ArrayBuffer> {
    // Half of a pair is no character, and would throw.
    const escaped = encodeURIComponent(text.replace(/[\ud800-\udfff]/gu, '\ufffd'));
    const binary = escaped.replace(/%(..)/g, (_, hex: string) =>
      String.fromCharCode(parseInt(hex, 16)),
    );
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  }
}

/** UTF-8 of one character beyond ASCII, or a byte of none. */
const CHARACTER =
  /[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[\x80-\xff]/g;

/** @throws {URIError} for what is no UTF-8. */
const fromBinary = (binary: string): string =>
  decodeURIComponent(
    binary.replace(/[%\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`),
  );

/** What they need of TextDecoder. */
class Decoder {
  readonly #fatal: boolean;

  constructor(_label: string, { fatal = false } = {}) {
    this.#fatal = fatal;
  }

  decode(bytes: Uint8Array): string {
    let binary = '';
    // As many arguments at once as any engine takes.
    for (let start = 0; start < bytes.length; start += 8192) {
      binary += String.fromCharCode(...bytes.subarray(start, start + 8192));
    }
    try {
      return fromBinary(binary);
    } catch (error) {
      if (this.#fatal) throw error;
      return binary.replace(CHARACTER, (one) => {
        try {
          return fromBinary(one);
        } catch {
          return '\ufffd';
        }
      });
    }
  }
}

type Bytes = Uint8Array<ArrayBuffer>;
interface Codec {
  TextEncoder: new () => { encode: (text: string) => Bytes };
  TextDecoder: new (label: string, options?: TextDecoderOptions) => Pick<Decoder, 'decode'>;
}
const OWN: Codec = { TextEncoder: Encoder, TextDecoder: Decoder };
const NAMES = ['TextEncoder', 'TextDecoder'] as const;
/** Older Hermes and JavaScriptCore lack both. */
const environment: Partial<Codec> = globalThis;

/** A text as UTF-8. */
export const toBytes = (text: string): Bytes =>
  new (environment.TextEncoder ?? Encoder)().encode(text);

/** A decoder of UTF-8. */
export const textDecoder = (options?: TextDecoderOptions): Pick<Decoder, 'decode'> =>
  new (environment.TextDecoder ?? Decoder)('utf-8', options);

/**
 * Calls `make` while there are a TextEncoder and a TextDecoder among the globals, where alone @stomp/stompjs looks for
 * them. Everybody else is to find the environment as it is, since these do no more than they are needed for.
 */
export function withTextCodec<Result>(make: () => Result): Result {
  const missing = NAMES.filter((name) => environment[name] === undefined);
  for (const name of missing) Object.assign(environment, { [name]: OWN[name] });
  try {
    return make();
  } finally {
    for (const name of missing) Reflect.deleteProperty(environment, name);
  }
}
