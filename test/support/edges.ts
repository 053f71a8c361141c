/** Stands where an edge goes, until the JSON is written: some edges are no value of JavaScript. */
const PLACE = '@@edge@@';

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Path = (string | number)[];

/** As JSON: of each type where it ends, and what is none of it. */
const NUMBERS = [
  ...[2 ** 31, 2 ** 53].flatMap((power) => [power - 1, power, power + 1].map(String)),
  ...['0', '-0', '-1', '1', '0.5', '-0.5', '1e308', '-1e308', '5e-324', '1e400', '-1e400'],
  ...['9007199254740993', '9'.repeat(400), 'NaN', 'Infinity', '0x10', '01', '"5"', '""', 'null'],
];

const STRINGS = [
  ...['""', '" "', '"."', '".."', '"%"', '"%00"', '"__proto__"', '"*"', '"#"', '"a,b"', '"\\\\c"'],
  ...[
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"\\udc00x"',
    '"\\uffff"',
    '"\\u001b[2J"',
    '"\\r\\n"',
  ],
  ...[65, 101, 129, 257, 5000].map((length) => JSON.stringify('x'.repeat(length))),
  ...['"2024-02-30T00:00:00Z"', '"9999-12-31T23:59:59.999999999Z"', '7', 'null', '[]', '{}'],
];

/** Percent-encoded, as they stand in a URL. */
const IN_URLS = [
  ...['', '%20', '.', '..', '%2e%2e', '..%2f..%2f', '%', '%00', 'a%00b', '%ff', '%ED%A0%80', '%07'],
  ...[
    'NaN',
    'Infinity',
    '1e400',
    '0x10',
    '-0',
    '-1',
    '0.5',
    '1e308',
    '5e-324',
    '1',
    '9'.repeat(400),
  ],
  ...[2 ** 31, 2 ** 53].flatMap((power) => [power - 1, power, power + 1].map(String)),
  ...['9007199254740993', '201', '1001', 'x'.repeat(129), 'x'.repeat(257), 'x'.repeat(5000)],
  ...['0001-01-01T00:00:00Z', '9999-12-31T23:59:59%2B23:59', '999999999999999-999999999999999'],
];

/** What the document says of a number: one less and one more than it may be, too. */
interface Schema {
  type?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
}

export interface Operation {
  security?: Record<string, unknown>[];
  parameters?: { name: string; in: 'path' | 'query'; schema: Schema }[];
  requestBody?: { content: { 'application/json': { schema: Schema } } };
}

/** What a body's schema, or an example of it, calls its numbers and texts: `push.badge`, `ids.*`. */
export function fieldsOf(schema: Schema, path: string[] = []): Map<string, Schema> {
  const found = new Map<string, Schema>();
  const take = (inner: Schema, ...more: string[]): void => {
    for (const [name, field] of fieldsOf(inner, [...path, ...more])) found.set(name, field);
  };
  for (const branch of [
    ...(schema.anyOf ?? []),
    ...(schema.oneOf ?? []),
    ...(schema.allOf ?? []),
  ]) {
    take(branch);
  }
  for (const [name, field] of Object.entries(schema.properties ?? {})) take(field, name);
  const { items, additionalProperties: others } = schema;
  if (items !== undefined) take(items, '*');
  if (typeof others === 'object' && Object.keys(others).length > 0) take(others, '*');
  if (['string', 'number', 'integer'].includes(schema.type ?? ''))
    found.set(path.join('.'), schema);
  return found;
}

export const nameOf = (path: Path, known: ReadonlyMap<string, unknown>): string | undefined => {
  const matches = [...known.keys()].filter((name) => {
    const parts = name.split('.');
    return (
      parts.length === path.length &&
      parts.every((part, index) => part === '*' || part === String(path[index]))
    );
  });
  return matches[0];
};

/** Where the numbers and texts of an example stand. */
export function leavesOf(example: Json, path: Path = []): Path[] {
  if (typeof example === 'number' || typeof example === 'string') return [path];
  if (Array.isArray(example)) {
    return example.flatMap((item, index) => leavesOf(item, [...path, index]));
  }
  if (typeof example !== 'object' || example === null) return [];
  return Object.entries(example).flatMap(([name, value]) => leavesOf(value, [...path, name]));
}

/** The example as JSON, once for each edge of each of its numbers and texts. */
export function edgesOf(example: Json, fields: ReadonlyMap<string, Schema>): string[] {
  return leavesOf(example).flatMap((path) => {
    const schema = fields.get(nameOf(path, fields) ?? '') ?? {};
    const edges = schema.type === 'string' ? STRINGS : [...NUMBERS, ...limitsOf(schema)];
    const text = JSON.stringify(replaced(example, path));
    return edges.map((edge) => text.replace(`"${PLACE}"`, () => edge));
  });
}

function limitsOf({ minimum, maximum, exclusiveMinimum }: Schema): string[] {
  return [minimum, maximum, exclusiveMinimum]
    .filter((limit) => limit !== undefined)
    .flatMap((limit) => [limit - 1, limit, limit + 1].map(String));
}

function replaced(value: Json, [first, ...rest]: Path): Json {
  if (first === undefined) return PLACE;
  if (Array.isArray(value)) {
    return value.map((item, index) => (index === first ? replaced(item, rest) : item));
  }
  const object = value as Record<string, Json>;
  return { ...object, [first]: replaced(object[first]!, rest) };
}

export interface GoodRequest {
  path?: Record<string, string>;
  query?: Record<string, string>;
  /** Each as the route takes it; together they have all its fields. */
  bodies?: object[];
  status: number;
}

/** A path with its query, from encoded parts. */
export function addressOf(
  template: string,
  path: Record<string, string>,
  query: Record<string, string>,
): string {
  const pairs = Object.entries(query).map(([name, value]) => `${name}=${value}`);
  const filled = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => path[name] ?? '');
  return pairs.length === 0 ? filled : `${filled}?${pairs.join('&')}`;
}

/** The good request's address, once for each edge of each of its parameters. */
export function edgeAddresses(
  template: string,
  operation: Operation,
  { path = {}, query = {} }: GoodRequest,
): string[] {
  return (operation.parameters ?? []).flatMap(({ name, in: place, schema }) =>
    [...IN_URLS, ...limitsOf(schema)].flatMap((edge) => {
      // One that is empty makes another route of it.
      if (place === 'path')
        return edge === '' ? [] : addressOf(template, { ...path, [name]: edge }, query);
      const address = addressOf(template, path, { ...query, [name]: edge });
      return [address, `${address}&${name}=1`];
    }),
  );
}
