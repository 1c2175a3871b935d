/** Programs from outside the project that a machine may have. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

export function onPath(environment: NodeJS.ProcessEnv, name: string): string | undefined {
  return (environment.PATH ?? '')
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find(isReadable);
}

export function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
