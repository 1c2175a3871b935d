/**
 * What a reader saw of numbered datagrams: how many are missing, came twice, came late or came changed, when, and after how long.
 *
 * Numbers count from 0 without gaps, so what is missing below what was sent is lost. A datagram is reordered where one with a higher number
 * came before it (RFC 4737). Of one that came changed nothing is believed, not even its number: it is lost as well as corrupted.
 */
import { type ArrivalRecord, GapRecord } from './gap-record.ts';

export interface DatagramFigures extends ArrivalRecord {
  /** Each once. */
  readonly received: number;
  readonly duplicated: number;
  readonly reordered: number;
  /** By how many numbers the latest of them came late. */
  readonly reorderedMost: number;
  readonly corrupted: number;
  /** Of the first ones, from the sender's call to the reader's. */
  readonly delayMs: Spread;
}

interface Spread {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** 64 Mi numbers are an hour of 200 Mbit/s in datagrams of 1,400 bytes; higher ones are not told apart from duplicates. */
const NUMBERS_MOST = 1 << 26;
const DELAYS_MOST = 100_000;

export class DatagramRecord {
  readonly #gaps: GapRecord;
  readonly #delaysMs: number[] = [];
  #seen = new Uint8Array(1024);
  #received = 0;
  #duplicated = 0;
  #reordered = 0;
  #reorderedMost = 0;
  #corrupted = 0;
  #highest = -1;

  constructor(leastGapMs: number, binMs: number) {
    this.#gaps = new GapRecord(leastGapMs, binMs);
  }

  get received(): number {
    return this.#received;
  }

  get bytes(): number {
    return this.#gaps.bytes;
  }

  get lastAtMs(): number {
    return this.#gaps.lastAtMs;
  }

  take(number: number, bytes: number, delayMs: number, nowMs: number): void {
    if (this.#isKnown(number)) {
      this.#duplicated++;
      return;
    }
    this.#received++;
    if (number < this.#highest) {
      this.#reordered++;
      this.#reorderedMost = Math.max(this.#reorderedMost, this.#highest - number);
    } else this.#highest = number;
    if (this.#delaysMs.length < DELAYS_MOST) this.#delaysMs.push(delayMs);
    this.#gaps.take(bytes, nowMs);
  }

  corrupt(): void {
    this.#corrupted++;
  }

  figures(nowMs: number): DatagramFigures {
    return {
      ...this.#gaps.record(nowMs),
      received: this.#received,
      duplicated: this.#duplicated,
      reordered: this.#reordered,
      reorderedMost: this.#reorderedMost,
      corrupted: this.#corrupted,
      delayMs: spread(this.#delaysMs),
    };
  }

  #isKnown(number: number): boolean {
    if (number >= NUMBERS_MOST) return true;
    const at = number >>> 3;
    if (at >= this.#seen.length) {
      const larger = new Uint8Array(Math.max(at + 1, 2 * this.#seen.length));
      larger.set(this.#seen);
      this.#seen = larger;
    }
    const bit = 1 << (number & 7);
    if ((this.#seen[at]! & bit) !== 0) return true;
    this.#seen[at]! |= bit;
    return false;
  }
}

/** By nearest rank; 0 of none. */
function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => Math.round((sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0) * 100) / 100;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
