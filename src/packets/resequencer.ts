/**
 * Puts the packets of class `aggregate` in order again: sprayed over all paths, they come in the order of whichever path was quicker. Their
 * number space is the order, from 0 with each session.
 *
 *        next                                  next + WINDOW_PACKETS
 *         ▼                                     ▼
 *    ·····┌───┬───┬───┬───┬───┬───┬───┬ ─ ─ ─ ─┐·····     a ring of slots, one for each counter
 *    late │ ? │ 8 │ 9 │ ? │ 11│   │   │         │          ?: not here yet; held packets wait for it
 *    ·····└───┴───┴───┴───┴───┴───┴───┴ ─ ─ ─ ─┘·····
 *
 *   counter = next     → delivered at once, without a copy, and then what was held behind it
 *   counter > next     → held, in our own memory; beyond the window: the oldest gaps are given up
 *   counter < next     → late: given up before. Delivered at once and counted; applications cope with order, not with holes
 *   held for waitMs    → everything before it is delivered, its gaps are given up (`due`)
 *
 * `waitMs` follows what is seen: a little more than the longest that a gap took to fill of late. So equal paths cost a millisecond or two
 * when a packet is lost, and paths of 20 and 60 ms what their difference is; never more than WAIT_MOST_MS.
 */
import { Slab } from '../native/slab.ts';

/** A power of two. At 200 Mbit/s and 1,400 bytes: 57 ms. */
export const WINDOW_PACKETS = 1024;
/** Longer ones cannot be held: everything before them is delivered. */
export const SLOT_BYTES = 2032;
/** In front of each packet, for the device's header. */
const HEADROOM_BYTES = 16;
const STRIDE_BYTES = HEADROOM_BYTES + SLOT_BYTES;
export const WAIT_MOST_MS = 100;
const WAIT_LEAST_MS = 4;
/** Assumed at first, until something was seen. */
const WAIT_FIRST_MS = 25;
const WAIT_FACTOR = 1.25;
const WAIT_MARGIN_MS = 2;
/** What a gap took is remembered for one to two of these: of time, and of packets, so that a pause forgets nothing. */
const MEMORY_MS = 2000;
const MEMORY_PACKETS = 1024;
/** Enough: while the oldest is held, no more counters than two windows can come (each once). */
const ARRIVALS = WINDOW_PACKETS * 2;

interface InOrder {
  /** With 16 bytes in front that may be overwritten. Bytes in our memory stay until `settle`; what came in order is still in the caller's. */
  deliver(slab: Slab, offset: number, lengthBytes: number): void;
  /** What was delivered is about to be overwritten. */
  settle(): void;
}

export class Resequencer {
  /** Held for a while, and then in order. */
  heldPackets = 0;
  /** Given up before they came: delivered behind packets that were sent after them. */
  latePackets = 0;
  /** Given up; those of them that come all the same are late. */
  missedPackets = 0;
  readonly #to: InOrder;
  #next = 0;
  #waiting = 0;
  /** By counter modulo WINDOW_PACKETS; made for the first packet that must wait. */
  #slots: Slab | undefined;
  /** 0: nothing in this slot. */
  readonly #lengths = new Int32Array(WINDOW_PACKETS);
  readonly #cameAtMs = new Float64Array(WINDOW_PACKETS);
  /** Counters in the order they came, from `#firstArrival` to `#endOfArrivals`; those below `#next` are no longer held. */
  readonly #arrivals = new Uint32Array(ARRIVALS);
  #firstArrival = 0;
  #endOfArrivals = 0;
  /** The first whose slot was delivered from since the last `settle`. */
  #unsettledFrom = Number.POSITIVE_INFINITY;
  #gaveUpAtMs = 0;
  #longestMs = 0;
  #longestBeforeMs = WAIT_FIRST_MS;
  #memorySinceMs = -1;
  #memoryPackets = 0;

  constructor(to: InOrder) {
    this.#to = to;
  }

  /** How long a packet may be held now. */
  get waitMs(): number {
    const longest = Math.max(this.#longestMs, this.#longestBeforeMs) * WAIT_FACTOR + WAIT_MARGIN_MS;
    return Math.min(WAIT_MOST_MS, Math.max(WAIT_LEAST_MS, longest));
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** @param counter one that did not come before: the replay window has been asked. */
  take(counter: number, slab: Slab, offset: number, lengthBytes: number, nowMs: number): void {
    this.#age(nowMs);
    if (counter < this.#next) {
      this.latePackets++;
      this.#learn(nowMs - this.#gaveUpAtMs + this.waitMs);
      this.#to.deliver(slab, offset, lengthBytes);
      return;
    }
    if (counter >= this.#next + WINDOW_PACKETS) this.#releaseBelow(counter - WINDOW_PACKETS + 1, nowMs);
    if (lengthBytes > SLOT_BYTES) this.#releaseBelow(counter, nowMs);
    if (counter > this.#next) {
      this.#hold(counter, slab, offset, lengthBytes, nowMs);
      return;
    }
    if (this.#waiting > 0) this.#learn(nowMs - this.#oldestCameAtMs());
    this.#to.deliver(slab, offset, lengthBytes);
    this.#next = counter + 1;
    this.#deliverHeld();
  }

  /**
   * Delivers what has waited long enough. To be called when all sockets were read: what a path brought in time may still lie in its queue.
   * @returns in how many milliseconds to ask again; -1 where nothing waits.
   */
  due(nowMs: number): number {
    while (this.#waiting > 0) {
      const leftMs = this.#oldestCameAtMs() + this.waitMs - nowMs;
      if (leftMs > 0) return leftMs;
      this.#releaseBelow(this.#arrivals[this.#firstArrival % ARRIVALS]! + 1, nowMs);
    }
    return -1;
  }

  #hold(counter: number, slab: Slab, offset: number, lengthBytes: number, nowMs: number): void {
    this.#slots ??= new Slab(WINDOW_PACKETS * STRIDE_BYTES);
    const slot = counter % WINDOW_PACKETS;
    if (this.#lengths[slot]! > 0) return;
    if (counter - WINDOW_PACKETS >= this.#unsettledFrom) {
      this.#to.settle();
      this.#unsettledFrom = Number.POSITIVE_INFINITY;
    }
    slab.bytes.copy(this.#slots.bytes, slot * STRIDE_BYTES + HEADROOM_BYTES, offset, offset + lengthBytes);
    this.#lengths[slot] = lengthBytes;
    this.#cameAtMs[slot] = nowMs;
    this.#skipDelivered();
    this.#arrivals[this.#endOfArrivals++ % ARRIVALS] = counter;
    this.#waiting++;
    this.heldPackets++;
  }

  /** Gives up what is missing below `limit`, and delivers the rest in order, and what is held right behind it. */
  #releaseBelow(limit: number, nowMs: number): void {
    // Nothing is held beyond the window, wherever the limit is.
    const end = Math.min(limit, this.#next + WINDOW_PACKETS);
    let missed = limit - this.#next;
    for (let counter = this.#next; this.#waiting > 0 && counter < end; counter++)
      if (this.#lengths[counter % WINDOW_PACKETS]! > 0) {
        missed--;
        this.#deliverSlot(counter);
      }
    this.#next = limit;
    if (missed > 0) this.#gaveUpAtMs = nowMs;
    this.missedPackets += missed;
    this.#deliverHeld();
  }

  #deliverHeld(): void {
    while (this.#waiting > 0 && this.#lengths[this.#next % WINDOW_PACKETS]! > 0) {
      this.#deliverSlot(this.#next);
      this.#next++;
    }
  }

  #deliverSlot(counter: number): void {
    const slot = counter % WINDOW_PACKETS;
    const lengthBytes = this.#lengths[slot]!;
    this.#lengths[slot] = 0;
    this.#waiting--;
    if (counter < this.#unsettledFrom) this.#unsettledFrom = counter;
    this.#to.deliver(this.#slots!, slot * STRIDE_BYTES + HEADROOM_BYTES, lengthBytes);
  }

  /** Of those that are held, at least one. */
  #oldestCameAtMs(): number {
    this.#skipDelivered();
    return this.#cameAtMs[this.#arrivals[this.#firstArrival % ARRIVALS]! % WINDOW_PACKETS]!;
  }

  #skipDelivered(): void {
    while (this.#firstArrival < this.#endOfArrivals && this.#arrivals[this.#firstArrival % ARRIVALS]! < this.#next) this.#firstArrival++;
  }

  /** A gap took this long to fill, or would have. */
  #learn(tookMs: number): void {
    if (tookMs > this.#longestMs) this.#longestMs = Math.min(tookMs, WAIT_MOST_MS);
  }

  #age(nowMs: number): void {
    this.#memoryPackets++;
    if (this.#memorySinceMs < 0) this.#memorySinceMs = nowMs;
    if (nowMs - this.#memorySinceMs < MEMORY_MS || this.#memoryPackets < MEMORY_PACKETS) return;
    this.#longestBeforeMs = this.#longestMs;
    this.#longestMs = 0;
    this.#memorySinceMs = nowMs;
    this.#memoryPackets = 0;
  }
}
