/** A small mutator: takes bytes that are right and makes them wrong in the ways that break parsers. Repeatable from one number. */
export class Mutator {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 1;
  }

  /** A whole number from 0 to `bound` - 1 (xorshift, good enough to wander). */
  below(bound: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % bound;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Uint8Array.from({ length }, () => this.below(256)));
  }

  /** One to four changes; sometimes none, so that the right bytes are among the cases. */
  mutate(seed: Buffer, others: readonly Buffer[]): Buffer {
    let bytes: Buffer = Buffer.from(seed);
    for (let i = this.below(5); i > 0; i--) bytes = this.#change(bytes, others);
    return bytes;
  }

  /** Lengths of pieces that add up to `total`, down to one byte each. */
  split(total: number): number[] {
    const pieces: number[] = [];
    const most = this.pick([1, 3, 20, 200, 100_000]);
    for (let left = total; left > 0; left -= pieces.at(-1)!) pieces.push(Math.min(left, 1 + this.below(most)));
    return pieces;
  }

  #change(bytes: Buffer, others: readonly Buffer[]): Buffer {
    const at = this.below(bytes.length + 1);
    const end = Math.min(bytes.length, at + 1 + this.below(32));
    switch (this.below(7)) {
      case 0:
        if (at < bytes.length) bytes[at]! ^= 1 << this.below(8);
        return bytes;
      case 1:
        if (at < bytes.length) bytes[at] = this.pick([0, 1, 0x7f, 0x80, 0xfe, 0xff]);
        return bytes;
      case 2:
        return bytes.subarray(0, at);
      case 3:
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
      case 4:
        return Buffer.concat([bytes.subarray(0, at), this.bytes(1 + this.below(40)), bytes.subarray(at)]);
      case 5:
        return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
      default:
        return Buffer.concat([bytes.subarray(0, at), this.pick(others).subarray(this.below(64))]);
    }
  }
}

/** Runs `one` with fresh numbers until the time is up; what throws is named with the number that makes it throw again. */
export function fuzz(one: (mutator: Mutator) => void): number {
  const seconds = Number(process.env.BRAID_FUZZ_SECONDS ?? 4);
  const first = Number(process.env.BRAID_FUZZ_SEED ?? Date.now() % 0x7fff_ffff);
  const untilMs = performance.now() + seconds * 1000;
  let cases = 0;
  do {
    const seed = (first + cases++ * 2) | 1;
    try {
      one(new Mutator(seed));
    } catch (cause) {
      throw new Error(`BRAID_FUZZ_SEED=${seed} makes it fail`, { cause });
    }
  } while (performance.now() < untilMs);
  return cases;
}
