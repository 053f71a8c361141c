/**
 * How ids of users and devices stand in the database. They may hold any character; PostgreSQL's text
 * holds all but NUL, and libsql reads one of SQLite's up to it. Two ids never share a result.
 */
export const toStored = (id: string): string =>
  id.replace(/[%\0]/g, (character) => (character === '%' ? '%25' : '%00'));

export const fromStored = (stored: string): string =>
  stored.replace(/%(25|00)/g, (_, code) => (code === '25' ? '%' : '\0'));
