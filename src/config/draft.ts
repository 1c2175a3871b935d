/** A file before its values were looked at beside each other: what the checks across keys share. */
import { type Prefix, parsePrefix } from '../wire/ip.ts';
import type { KeyPath } from './locate.ts';
import type { Problem } from './problems.ts';

/** The file as it was read, with holes for the values that are wrong by themselves: anything may be missing, and no default is filled in. */
export interface FileDraft {
  readonly site?: string;
  readonly lan?: readonly (string | undefined)[];
  readonly listen?: number;
  readonly identity_key?: object;
  readonly names?: Readonly<Record<string, string | undefined>>;
  readonly uplink?: readonly (UplinkDraft | undefined)[];
  readonly peer?: readonly (PeerDraft | undefined)[];
  readonly network?: { readonly mark?: number; readonly mask?: number; readonly table_base?: number; readonly tproxy_port?: number };
}

interface UplinkDraft {
  readonly name?: string;
  readonly device?: string;
  readonly address?: string | readonly (string | undefined)[];
  readonly gateway?: string | readonly (string | undefined)[];
  readonly public?: string;
}

export interface PeerDraft {
  readonly site?: string;
  readonly lan?: readonly (string | undefined)[];
  readonly addresses?: readonly (string | undefined)[];
  readonly send_key?: object;
  readonly kind?: string;
  readonly method?: string;
  readonly transport?: string;
  readonly snat?: boolean;
  readonly packets?: string;
  readonly policy?: readonly (PolicyDraft | undefined)[];
  readonly allow?: readonly (
    | { readonly from?: readonly (string | undefined)[]; readonly to?: readonly (string | undefined)[] }
    | undefined
  )[];
}

export interface PolicyDraft {
  readonly from?: readonly (string | undefined)[];
  readonly to?: readonly (string | undefined)[];
  readonly protocol?: string | number;
  readonly ports?: readonly (string | number | undefined)[];
  readonly dscp?: readonly (string | number | undefined)[];
  readonly class?: string;
  readonly uplink?: string;
}

export interface At<T> {
  readonly value: T;
  readonly path: KeyPath;
}

export function value(path: KeyPath, message: string): Problem {
  return { code: 'CONFIG_VALUE', path, message };
}

export function prefixes(texts: readonly (string | undefined)[] | undefined, path: KeyPath): At<Prefix>[] {
  return entries(texts).flatMap(([i, text]) => {
    const prefix = parsePrefix(text);
    return prefix ? [{ value: prefix, path: [...path, i] }] : [];
  });
}

/** With their positions, without the holes that refused values left. */
export function entries<T>(list: readonly (T | undefined)[] | undefined): [number, T][] {
  return (list ?? []).flatMap((item, i) => (item === undefined ? [] : [[i, item] as [number, T]]));
}
