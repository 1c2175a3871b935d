/** What the command lines of all benches have in common. */

/** Something is wrong with the command line. */
export class UsageError extends Error {}

/** The value of `--NAME`. @throws UsageError */
export function wholeNumber<Name extends string>(
  values: { readonly [key in NoInfer<Name>]?: string | undefined },
  name: Name,
  otherwise: number,
): number {
  const value = Number(values[name] ?? otherwise);
  if (!Number.isInteger(value) || value < 1) throw new UsageError(`--${name} expects a whole number above 0, got ${values[name]}`);
  return value;
}

/** Other checkouts of Braid, each as `--subject NAME=DIR` says. @throws UsageError */
export function otherCheckouts<Subject>(texts: readonly string[], subject: (name: string, directory: string) => Subject): Subject[] {
  return texts.map((text) => {
    const [, name, directory] = /^([a-z0-9-]+)=(.+)$/.exec(text) ?? [];
    if (name === undefined || directory === undefined) throw new UsageError(`--subject expects NAME=DIR, got ${text}`);
    return subject(name, directory);
  });
}

/** Those of `parts` that are named, in their own order; without a name all of them. @throws UsageError */
export function namedParts<Part extends string>(parts: readonly Part[], names: readonly string[]): readonly Part[] {
  const wrong = names.find((name) => !parts.some((part) => part === name));
  if (wrong !== undefined) throw new UsageError(`part expected, one of ${parts.join(', ')}, got ${wrong}`);
  return names.length > 0 ? parts.filter((part) => names.includes(part)) : parts;
}
