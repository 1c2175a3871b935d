/**
 * Which of many prefixes an address lies in, the longest first. Built once from values, then asked for each packet with the words of
 * `InnerPacket.addresses`: no allocation, one binary search for each prefix length that occurs.
 */
import { type Prefix, prefixAround } from '../wire/ip.ts';

export const NO_PREFIX = -1;

export interface PrefixEntry {
  readonly prefix: Prefix;
  /** At least 0. */
  readonly value: number;
}

/** The prefixes of one length, sorted; `rows` has `width` words of network and one of value for each. */
interface Rank {
  readonly masks: Int32Array;
  readonly rows: Int32Array;
  readonly count: number;
}

export class PrefixTable {
  readonly #four: readonly Rank[];
  readonly #six: readonly Rank[];

  /** Of two entries with one prefix the first counts. */
  constructor(entries: readonly PrefixEntry[]) {
    this.#four = ranksOf(entries, 4);
    this.#six = ranksOf(entries, 6);
  }

  static ofPrefixes(prefixes: readonly Prefix[]): PrefixTable {
    return new PrefixTable(prefixes.map((prefix) => ({ prefix, value: 0 })));
  }

  /** @param at where the address begins in `words`. @returns the value of the longest prefix around it, or NO_PREFIX. */
  find(family: 4 | 6, words: Int32Array, at: number): number {
    const ranks = family === 4 ? this.#four : this.#six;
    for (let i = 0; i < ranks.length; i++) {
      const value = family === 4 ? findFour(ranks[i]!, words[at]!) : findSix(ranks[i]!, words, at);
      if (value >= 0) return value;
    }
    return NO_PREFIX;
  }

  contains(family: 4 | 6, words: Int32Array, at: number): boolean {
    return this.find(family, words, at) !== NO_PREFIX;
  }
}

function findFour({ masks, rows, count }: Rank, address: number): number {
  const network = address & masks[0]!;
  let low = 0;
  let high = count - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const row = rows[middle * 2]!;
    if (row === network) return rows[middle * 2 + 1]!;
    if (row < network) low = middle + 1;
    else high = middle - 1;
  }
  return NO_PREFIX;
}

function findSix({ masks, rows, count }: Rank, words: Int32Array, at: number): number {
  let low = 0;
  let high = count - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    let word = 0;
    while (word < 4 && rows[middle * 5 + word] === (words[at + word]! & masks[word]!)) word++;
    if (word === 4) return rows[middle * 5 + 4]!;
    if (rows[middle * 5 + word]! < (words[at + word]! & masks[word]!)) low = middle + 1;
    else high = middle - 1;
  }
  return NO_PREFIX;
}

function ranksOf(entries: readonly PrefixEntry[], family: 4 | 6): Rank[] {
  const ours = entries.filter(({ prefix }) => prefix.family === family);
  const lengths = [...new Set(ours.map(({ prefix }) => prefix.length))].sort((a, b) => b - a);
  return lengths.map((length) => {
    const seen = new Set<string>();
    const rows = ours
      .filter(({ prefix }) => prefix.length === length && !seen.has(prefix.text) && seen.add(prefix.text))
      .map(({ prefix, value }) => [...wordsOf(prefix.bytes), value])
      .sort(compareWords);
    return { masks: Int32Array.from(maskOf(family, length)), rows: Int32Array.from(rows.flat()), count: rows.length };
  });
}

/** Signed, as the lookup compares them. */
function compareWords(one: readonly number[], other: readonly number[]): number {
  const at = one.findIndex((word, i) => word !== other[i]);
  return at < 0 ? 0 : one[at]! - other[at]!;
}

function maskOf(family: 4 | 6, length: number): number[] {
  const bytes = new Uint8Array(family === 4 ? 4 : 16).fill(0xff);
  return wordsOf(prefixAround({ family, bytes, text: '' }, length).bytes);
}

/** An address as `InnerPacket.addresses` has it: one word or four, signed. */
export function wordsOf(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / 4 }, (_, i) => view.getInt32(i * 4));
}
