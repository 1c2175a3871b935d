/**
 * What is wrong with a configuration that was only thought of: no file has its lines, so the flag, the device or the site that a value came
 * from is named instead of a place.
 *
 *     /etc/braid/berlin.toml:4:11: lan[0]: 127.0.0.0/8 overlaps ...  ──▶  --lan: 127.0.0.0/8 overlaps ...
 */
import { BraidError, BraidErrors } from '../error.ts';
import type { KeyPath } from './locate.ts';
import { parted, pathOf } from './problems.ts';

export interface Named {
  readonly name: string;
  /** Where the error has no way out of its own. */
  readonly hint?: string;
}

/** @returns undefined for what stands in a file, where its place helps. */
export type Naming = (path: KeyPath) => Named | undefined;

/** @returns the same error in other words; whatever is none of the administrator's stays as it is. */
export function reworded(error: unknown, naming: Naming): unknown {
  if (error instanceof BraidErrors) return new BraidErrors(error.all.map((one) => rewordedOne(one, naming)));
  return error instanceof BraidError ? rewordedOne(error, naming) : error;
}

function rewordedOne(error: BraidError, naming: Naming): BraidError {
  const apart = parted(error.message);
  const named = naming(apart?.path ?? []);
  if (!named) return error;
  const rest = (apart?.rest ?? error.message).replace(/\b(?:uplink|peer)\[\d+\](?:\.\w+)*/g, (text) => naming(pathOf(text))?.name ?? text);
  const hint = error.hint ?? named.hint;
  return new BraidError(error.code, apart ? `${named.name}: ${rest}` : rest, { cause: error, ...(hint !== undefined && { hint }) });
}
