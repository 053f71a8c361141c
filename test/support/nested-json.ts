/** JSON of arrays in arrays: `JSON.parse` reads it, and nothing can write it again. */
export const nestedJson = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
