/** What {@link edgesOf} reads of an OpenAPI document. */
export interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
}

export interface Operation {
  security?: Record<string, unknown>[];
  parameters?: { name: string; in: 'path' | 'query'; schema: Schema }[];
  requestBody?: { content: Record<string, { schema: Schema }> };
}

interface Schema {
  type?: string;
  const?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: Schema | boolean;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
  exclusiveMaximum?: number;
  maxLength?: number;
  maxItems?: number;
}

/** A request that a route takes. */
export interface Good {
  path?: Record<string, string>;
  query?: Record<string, string>;
  body?: object;
  /** Default: any of 2xx. */
  status?: number;
}

/** A good request with one value put in place of another. */
export interface Edge {
  /** Which value of which field, for whoever reads that it failed. */
  name: string;
  /** As it stands behind the host, with the query. */
  target: string;
  /** JSON. */
  body: string | undefined;
}

/** In targets and bodies, for an id that no request has had before: to be replaced by one that is as long. */
export const FRESH = '00000000-0000-7000-8000-00000f7e5400';
/** Replaced by the edge, which may be no value that `JSON.stringify` writes. */
const HOLE = '"the edge"';

/** Longer than any text may be, and shorter than a line of a request. */
const TOO_LONG = 4097;
/** 63 characters are the most of a type, and 63 of four bytes the most that AMQP takes of it. */
const WIDEST = '\u{1F41E}'.repeat(63);

/** In a JSON text. */
function textsAt({ maxLength }: Schema, good: unknown): string[] {
  const base = typeof good === 'string' ? good : 'edge';
  const texts = [
    ...['\0', '\ud800', '\n', '\u0001\u001f\u007f\u0085', '%00', '%ff', '%2e%2e'].map(
      (end) => base + end,
    ),
    ...['', '.', '..', '\0', WIDEST],
    ...lengthsAt(maxLength).map((length) => base.padEnd(length, 'x')),
  ];
  return texts.map((text) => JSON.stringify(text));
}

/** In a URL. */
function textsInUrl({ maxLength }: Schema, good = 'edge'): string[] {
  const base = encodeURIComponent(good);
  return [
    ...['%00', '%ED%A0%80', '%0A', '%01%1F%7F%C2%85', '%2500', '%ff', '%'].map((end) => base + end),
    ...['.', '..', '%2e%2e', '%00', encodeURIComponent(WIDEST)],
    ...lengthsAt(maxLength).map((length) => base.padEnd(length, 'x')),
  ];
}

/** Where the schema says nothing: those of an id, and one over all. */
const lengthsAt = (maxLength: number | undefined): number[] =>
  maxLength === undefined ? [256, 257, TOO_LONG] : [maxLength, maxLength + 1];

function numbersAt(schema: Schema): string[] {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  const least = minimum ?? (exclusiveMinimum === undefined ? undefined : exclusiveMinimum + 1);
  const most = maximum ?? (exclusiveMaximum === undefined ? undefined : exclusiveMaximum - 1);
  return [
    ...(least === undefined ? [] : [least - 1, least].map(String)),
    ...(most === undefined ? [] : [BigInt(most), BigInt(most) + 1n].map(String)),
    ...['0', '-0', '-1', '0.5', '2147483647', '2147483648', '9007199254740991', '9007199254740992'],
    ...['1e308', '-1e308', '5e-324', '1e400'],
  ];
}

const NOT_NUMBERS = ['NaN', 'Infinity', '-Infinity', '', '%20', '0x10', '9'.repeat(40), '%00'];

/** A place in a body, as one of the good ones has it. */
interface Field {
  name: string;
  steps: (string | number)[];
  schema: Schema;
  /** What stands there; undefined when it does not. */
  good: unknown;
  /** Whether there is something to put it into. */
  hasParent: boolean;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function fits({ properties, required = [] }: Schema, value: unknown): boolean {
  if (properties === undefined || !isObject(value)) return properties === undefined;
  return (
    required.every((name) => name in value) &&
    Object.entries(properties).every(
      ([name, { const: only }]) => only === undefined || value[name] === only,
    )
  );
}

/** All that a schema has, whether the good body has it or not. */
function fieldsOf(field: Field): Field[] {
  const { name, steps, schema, good, hasParent } = field;
  const { anyOf, oneOf, properties, additionalProperties, items, type } = schema;
  const alternatives = anyOf ?? oneOf;
  if (alternatives !== undefined) {
    return alternatives.flatMap((alternative, index) => {
      const isIt = fits(alternative, good);
      const at = alternative.properties === undefined ? name : `${name}(${String(index)})`;
      const here = isIt ? { good, hasParent } : { good: undefined, hasParent: false };
      return fieldsOf({ name: at, steps, schema: alternative, ...here });
    });
  }
  const below = (step: string | number, called: string, child: Schema, value: unknown): Field[] =>
    fieldsOf({
      name: `${name}.${called}`,
      steps: [...steps, step],
      schema: child,
      good: value,
      hasParent: hasParent && (typeof step === 'number' || isObject(good)),
    });
  if (type === 'object') {
    const inside = isObject(good) ? good : {};
    const named = Object.entries(properties ?? {}).flatMap(([key, child]) =>
      below(key, key, child, inside[key]),
    );
    if (!isObject(additionalProperties)) return named;
    const [key = 'none'] = Object.keys(inside);
    return [...named, ...below(key, '*', additionalProperties, inside[key])];
  }
  if (type === 'array' && items !== undefined) {
    const first: unknown = Array.isArray(good) ? good[0] : undefined;
    return [field, ...below(0, '0', items, first)];
  }
  return type === 'boolean' || type === 'null' ? [] : [field];
}

/** JSON texts to put into a field. */
function valuesAt({ schema, good }: Field): string[] {
  const { type, maxItems } = schema;
  if (type === 'integer' || type === 'number') return numbersAt(schema);
  if (type === 'string') return textsAt(schema, good);
  // Any JSON.
  if (type === undefined) return [...numbersAt({}), ...textsAt(schema, good)];
  if (maxItems === undefined) return [];
  const [first = 'x'] = Array.isArray(good) ? (good as unknown[]) : [];
  const entries = Array.from({ length: maxItems + 1 }, (_, index) =>
    isObject(first) ? first : typeof first === 'number' ? index + 1 : String(index),
  );
  return [JSON.stringify(entries)];
}

/** The body as JSON, with this in place of what stands there. */
function putInto(body: object, steps: Field['steps'], json: string): string {
  const copy = structuredClone(body) as Record<string | number, unknown>;
  let place = copy;
  for (const [index, step] of steps.slice(0, -1).entries()) {
    place[step] ??= typeof steps[index + 1] === 'number' ? [] : {};
    place = place[step] as Record<string | number, unknown>;
  }
  place[steps.at(-1) ?? ''] = JSON.parse(HOLE) as string;
  return JSON.stringify(copy).replace(HOLE, () => json);
}

/** What stands behind the host. */
export const targetOf = (path: string, { path: inPath, query }: Good): string =>
  written(path, encoded(inPath), encoded(query));

/** Of values that are encoded already. */
function written(
  path: string,
  inPath: Record<string, string>,
  query: Record<string, string>,
): string {
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => inPath[name] ?? 'x');
  const asked = Object.entries(query).map(([name, value]) => `${name}=${value}`);
  return asked.length === 0 ? filled : `${filled}?${asked.join('&')}`;
}

const encoded = (values: Record<string, string> = {}): Record<string, string> =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, encodeURIComponent(value)]),
  );

/** One request for each value of each parameter. */
function edgesOfUrl(path: string, { parameters = [] }: Operation, goods: Good[]): Edge[] {
  return parameters.flatMap(({ name, in: part, schema }) => {
    const good = goods.find((candidate) => candidate[part]?.[name] !== undefined) ?? goods[0] ?? {};
    const isNumber = schema.type === 'integer' || schema.type === 'number';
    const values = isNumber
      ? [...numbersAt(schema), ...NOT_NUMBERS]
      : textsInUrl(schema, good[part]?.[name]);
    // Nothing in a path would be another path.
    if (part === 'query') values.push('');
    return [...new Set(values)].map((value): Edge => {
      const [inPath, query] = [encoded(good.path), encoded(good.query)];
      (part === 'path' ? inPath : query)[name] = value;
      const body = good.body && JSON.stringify(good.body);
      return { name: `${name}=${short(value)}`, target: written(path, inPath, query), body };
    });
  });
}

/**
 * One request for each value of each field of the body.
 * @throws {Error} for a field that cannot be reached: there is no good body with what it stands in.
 */
function edgesOfBody(path: string, schema: Schema, goods: Good[]): Edge[] {
  const fields = goods.flatMap((from) => {
    const body = { name: 'body', steps: [], schema, good: from.body ?? {}, hasParent: true };
    return fieldsOf(body).map((field) => ({ ...field, from }));
  });
  return [...new Set(fields.map(({ name }) => name))].flatMap((name) => {
    const same = fields.filter((field) => field.name === name);
    const field =
      same.find(({ good }) => good !== undefined) ?? same.find(({ hasParent }) => hasParent);
    if (field === undefined)
      throw new Error(`No good request of ${path} reaches ${name}: add one.`);
    return [...new Set(valuesAt(field))].map((json) => ({
      name: `${name}=${short(json)}`,
      target: targetOf(path, field.from),
      body: putInto(field.from.body ?? {}, field.steps, json),
    }));
  });
}

/** @param goods between them they have all objects that the body's schema has. */
export function edgesOf(path: string, operation: Operation, goods: Good[]): Edge[] {
  const schema = operation.requestBody?.content['application/json']?.schema;
  const inBody = schema === undefined ? [] : edgesOfBody(path, schema, goods);
  return [...edgesOfUrl(path, operation, goods), ...inBody];
}

const short = (text: string): string =>
  text.length <= 60 ? text : `${text.slice(0, 40)}… (${String(text.length)})`;
