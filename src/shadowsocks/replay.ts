/**
 * Salts that were seen, shared by all workers: a request that comes twice within its timestamp's window is a recording.
 *
 * One open-addressed table in shared memory. A slot keeps 56 bits of the salt and the minute it came in, so nothing is ever cleared: a salt
 * is remembered for the rest of its minute and the whole next one, 62 to 124 s; after that its slot counts as free. Our minutes have 62 s:
 * a stamp that is 30 s ahead is in time for almost 61 s (whole seconds on both sides), and the clocks that count the two differ by some
 * rounding. Position and content come from different bytes of the salt, so a fresh salt is mistaken for a seen one less than once in 2^54
 * requests. A lock of one word guards it, held for a fraction of a microsecond. A full table refuses: it fails closed.
 *
 *    header 64 B                    slots, 8 B each
 *    ┌────────────────────────────┬───────────────────────────────┬─────────
 *    │ lock, minute, counts, seed │ salt[0..4] │ salt[4..7] , age │ ...        age: minute mod 255 + 1; 0: never used
 *    └────────────────────────────┴───────────────────────────────┴─────────
 */
import { randomInt } from 'node:crypto';

type Admission = 'fresh' | 'replayed' | 'full';

const REPLAY_ENTRIES_A_MINUTE = 1 << 19;
/** More than a request can be in time for, see above. */
export const MINUTE_SECONDS = 62;
const HEADER_WORDS = 16;
const LOCK = 0;
const MINUTE = 1;
const COUNT = 2;
const CAPACITY = 3;
const SEED = 4;
const REFUSED = 5;
const NEVER_USED = 0;
const AGES = 255;
/** Probes for one salt. At most half of the slots are alive, so a run of this length does not happen by chance. */
const WINDOW = 128;
const SPINS = 1000;
const SLEEPS = 200;

export class ReplayStore {
  /** Hand it to the other threads, and `new ReplayStore(buffer)` there is the same store. */
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #slots: number;
  readonly #shift: number;
  readonly #monotonicSeconds: () => number;

  /** @param entriesAMinute how many salts of one minute it takes before it refuses. 32 bytes each, touched as they come. */
  static allocate(entriesAMinute = REPLAY_ENTRIES_A_MINUTE): SharedArrayBuffer {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(entriesAMinute * 4, WINDOW)));
    const buffer = new SharedArrayBuffer(HEADER_WORDS * 4 + slots * 8);
    const words = new Int32Array(buffer);
    words[CAPACITY] = entriesAMinute;
    words[MINUTE] = -1;
    words[SEED] = randomInt(2 ** 31); // a peer with a key shall not choose which slots fill up
    return buffer;
  }

  /** @param monotonicSeconds the same clock in all threads; not wall time, which may be set back. */
  constructor(buffer: SharedArrayBuffer, monotonicSeconds: () => number = systemMonotonicSeconds) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#slots = (this.#words.length - HEADER_WORDS) / 2;
    this.#shift = 32 - Math.log2(this.#slots);
    this.#monotonicSeconds = monotonicSeconds;
  }

  /** A caller's salt, once its header proved authentic. @param salt at least 12 bytes. Only `fresh` may go on. */
  admit(salt: Uint8Array): Admission {
    const words = this.#words;
    if (!this.#lock()) return this.#refuse();
    const admission = this.#look(salt);
    Atomics.store(words, LOCK, 0);
    return admission === 'full' ? this.#refuse() : admission;
  }

  /** A salt of ours, before it is sent: thrown back at us it will be `replayed`. @returns false where it must not be sent. */
  rememberOwn(salt: Uint8Array): boolean {
    return this.admit(salt) === 'fresh';
  }

  /** How often it was full. */
  get refused(): number {
    return Atomics.load(this.#words, REFUSED);
  }

  #look(salt: Uint8Array): Admission {
    const words = this.#words;
    const minute = this.#turn();
    const age = (minute % AGES) + 1;
    const lastAge = ((minute + AGES - 1) % AGES) + 1;
    const low = salt[0]! | (salt[1]! << 8) | (salt[2]! << 16) | (salt[3]! << 24);
    const high = (salt[4]! << 8) | (salt[5]! << 16) | (salt[6]! << 24);
    const mixed = salt[8]! | (salt[9]! << 8) | (salt[10]! << 16) | (salt[11]! << 24);
    const start = Math.imul(mixed ^ words[SEED]!, 0x9e3779b1) >>> this.#shift;
    let free = -1;
    for (let i = 0; i < WINDOW; i++) {
      const at = HEADER_WORDS + ((start + i) & (this.#slots - 1)) * 2;
      const slotAge = words[at + 1]! & 0xff;
      const alive = slotAge === age || slotAge === lastAge;
      if (alive && words[at] === low && (words[at + 1]! & ~0xff) === high) return 'replayed';
      if (!alive && free < 0) free = at;
      if (slotAge === NEVER_USED) break;
    }
    if (free < 0 || words[COUNT]! >= words[CAPACITY]!) return 'full';
    words[free] = low;
    words[free + 1] = high | age;
    words[COUNT] = words[COUNT]! + 1;
    return 'fresh';
  }

  /** Starts a new minute where it is time. A thread whose clock reading is older than another's takes part in the newer minute. */
  #turn(): number {
    const words = this.#words;
    const now = Math.floor(this.#monotonicSeconds() / MINUTE_SECONDS);
    if (now > words[MINUTE]!) {
      words[MINUTE] = now;
      words[COUNT] = 0;
    }
    return words[MINUTE]!;
  }

  /** @returns false where the holder does not give it back in about 0.2 s: it died in there. */
  #lock(): boolean {
    const words = this.#words;
    for (let i = 0; i < SPINS; i++) if (Atomics.compareExchange(words, LOCK, 0, 1) === 0) return true;
    for (let i = 0; i < SLEEPS; i++) {
      Atomics.wait(words, LOCK, 1, 1);
      if (Atomics.compareExchange(words, LOCK, 0, 1) === 0) return true;
    }
    return false;
  }

  #refuse(): Admission {
    Atomics.add(this.#words, REFUSED, 1);
    return 'full';
  }
}

export function systemMonotonicSeconds(): number {
  return process.hrtime()[0];
}
