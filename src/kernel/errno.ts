/** Every errno of this machine by name, for what is shown and logged. Code compares with the numbers of constants.ts. */
import { constants } from 'node:os';

const SECOND_NAMES = new Set(['EWOULDBLOCK', 'ENOTSUP', 'EDEADLOCK']);
const NAMES = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) if (!SECOND_NAMES.has(name)) NAMES.set(number, name);

/** @param result -errno or errno. */
export function errnoName(result: number): string {
  return NAMES.get(Math.abs(result)) ?? `errno ${Math.abs(result)}`;
}
