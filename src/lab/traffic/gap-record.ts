/**
 * When bytes arrived, kept as the silences between them, so that somebody who knows when an uplink died can ask for the longest one around
 * it.
 *
 * Times are CLOCK_MONOTONIC in milliseconds: every namespace of a machine has the same one, and it is never set.
 */

/** Now, on the clock of every record. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

/** `[when it began, how long it was]` */
type Gap = readonly [atMs: number, ms: number];

export interface ArrivalRecord {
  readonly bytes: number;
  /** 0 where nothing came. */
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  /** When the record was closed. */
  readonly endedAtMs: number;
  /** The stream came to its end: what follows the last arrival is no gap. */
  readonly finished: boolean;
  /** Only those of `leastGapMs` or more. */
  readonly gaps: readonly Gap[];
  readonly binMs: number;
  /** Bytes in each `binMs` since the first arrival. */
  readonly bins: readonly number[];
}

const MOST_GAPS = 100_000;
const MOST_BINS = 72_000;

export class GapRecord {
  readonly #leastGapMs: number;
  readonly #binMs: number;
  readonly #gaps: Gap[] = [];
  readonly #bins: number[] = [];
  #bytes = 0;
  #firstAtMs = 0;
  #lastAtMs = 0;
  #finished = false;

  constructor(leastGapMs: number, binMs: number) {
    this.#leastGapMs = leastGapMs;
    this.#binMs = binMs;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get lastAtMs(): number {
    return this.#lastAtMs;
  }

  take(bytes: number, nowMs: number): void {
    if (this.#bytes === 0) this.#firstAtMs = nowMs;
    else this.#note(nowMs);
    this.#bytes += bytes;
    this.#lastAtMs = nowMs;
    const bin = Math.floor((nowMs - this.#firstAtMs) / this.#binMs);
    if (bin >= MOST_BINS) return;
    while (this.#bins.length <= bin) this.#bins.push(0);
    this.#bins[bin]! += bytes;
  }

  /** The FIN ends a silence too. */
  finish(nowMs: number): void {
    if (this.#bytes > 0) this.#note(nowMs);
    this.#lastAtMs = nowMs;
    this.#finished = true;
  }

  record(nowMs: number): ArrivalRecord {
    return {
      bytes: this.#bytes,
      firstAtMs: this.#firstAtMs,
      lastAtMs: this.#lastAtMs,
      endedAtMs: nowMs,
      finished: this.#finished,
      gaps: this.#gaps,
      binMs: this.#binMs,
      bins: this.#bins,
    };
  }

  #note(nowMs: number): void {
    const ms = nowMs - this.#lastAtMs;
    if (ms >= this.#leastGapMs && this.#gaps.length < MOST_GAPS) this.#gaps.push([rounded(this.#lastAtMs), rounded(ms)]);
  }
}

/**
 * The longest silence that touches the time from `fromMs` to `toMs`, in its full length; one that had not ended counts as far as it was
 * watched. 0 where all were shorter than what the record keeps; infinite where nothing ever came.
 */
export function longestGapMs(record: ArrivalRecord, fromMs: number, toMs: number): number {
  if (record.bytes === 0) return Number.POSITIVE_INFINITY;
  const open: Gap[] = record.finished ? [] : [[record.lastAtMs, record.endedAtMs - record.lastAtMs]];
  return [...record.gaps, ...open]
    .filter(([atMs, ms]) => atMs + ms > fromMs && atMs < toMs)
    .reduce((longest, [, ms]) => Math.max(longest, ms), 0);
}

/** Bytes that arrived between two times, by whole bins. */
export function bytesBetween(record: ArrivalRecord, fromMs: number, toMs: number): number {
  const bin = (atMs: number) => Math.max(0, Math.round((atMs - record.firstAtMs) / record.binMs));
  return record.bins.slice(bin(fromMs), bin(toMs)).reduce((sum, bytes) => sum + bytes, 0);
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
