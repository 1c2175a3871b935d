import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Slab } from '../native/slab.ts';
import { Resequencer, SLOT_BYTES, WAIT_MOST_MS, WINDOW_PACKETS } from './resequencer.ts';
import { Schedule } from './schedule.ts';

const AT = 100;

/** A resequencer whose packets carry their counter. They are looked at when they are flushed, as a writer that gathers them would. */
class Line {
  readonly out: number[] = [];
  readonly #slab = new Slab(AT + 8192);
  #pending: { readonly counter: number; readonly slab: Slab; readonly offset: number; readonly lengthBytes: number }[] = [];
  readonly resequencer = new Resequencer({
    deliver: (slab, offset, lengthBytes) => {
      const counter = slab.bytes.readUInt32BE(offset);
      this.out.push(counter);
      this.#pending.push({ counter, slab, offset, lengthBytes });
      slab.bytes.fill(0xee, offset - 16, offset);
      // What is the caller's own does not outlive the call.
      if (slab === this.#slab) this.flush();
    },
    settle: () => this.flush(),
  });
  readonly #lengthOf: (counter: number) => number;

  constructor(lengthOf: (counter: number) => number = (counter) => 20 + (counter % 1400)) {
    this.#lengthOf = lengthOf;
  }

  flush(): void {
    for (const { counter, slab, offset, lengthBytes } of this.#pending.splice(0)) {
      const isWhole = slab.bytes.readUInt32BE(offset) === counter && slab.bytes[offset + lengthBytes - 1] === (counter & 0xff);
      if (!isWhole || lengthBytes !== this.#lengthOf(counter)) throw new Error(`${counter} came out damaged`);
    }
  }

  take(counter: number, nowMs = 0): void {
    const length = this.#lengthOf(counter);
    this.#slab.bytes.writeUInt32BE(counter, AT);
    this.#slab.bytes[AT + length - 1] = counter & 0xff;
    this.resequencer.take(counter, this.#slab, AT, length, nowMs);
  }
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

describe('a resequencer', () => {
  it('delivers what is in order at once, and holds nothing', () => {
    const line = new Line();
    for (const counter of upTo(3000)) {
      line.take(counter);
      expect(line.out.at(-1)).toBe(counter);
    }
    expect(line.resequencer).toMatchObject({ heldPackets: 0, latePackets: 0, missedPackets: 0, waiting: 0 });
    expect(line.resequencer.due(1e9)).toBe(-1);
  });

  it('holds what comes early until what was before it comes', () => {
    const line = new Line();
    for (const counter of [0, 3, 1, 4]) line.take(counter);
    expect(line.out).toEqual([0, 1]);
    line.take(2);
    expect(line.out).toEqual([0, 1, 2, 3, 4]);
    expect(line.resequencer).toMatchObject({ heldPackets: 2, latePackets: 0, missedPackets: 0, waiting: 0 });
  });

  it('gives a gap up when the oldest behind it has waited long enough, and delivers what comes then at once', () => {
    const line = new Line();
    line.take(0, 1000);
    line.take(2, 1000);
    line.take(4, 1010);
    const { waitMs } = line.resequencer;
    expect(line.resequencer.due(1000 + waitMs - 1)).toBeCloseTo(1, 6);
    expect(line.out).toEqual([0]);
    expect(line.resequencer.due(1000 + waitMs)).toBeCloseTo(10, 6);
    expect(line.out).toEqual([0, 2]);
    line.take(1, 1000 + waitMs);
    line.take(3, 1000 + waitMs);
    expect(line.out).toEqual([0, 2, 1, 3, 4]);
    expect(line.resequencer).toMatchObject({ latePackets: 1, missedPackets: 1 });
  });

  it('lets nothing wait longer than it says, also where gap follows gap', () => {
    const line = new Line();
    for (let i = 0; i < 400; i++) {
      line.take(1 + i * 2, i);
      line.resequencer.due(i);
      const held = line.out.length * 2 + 1;
      expect((i * 2 + 1 - held) / 2).toBeLessThanOrEqual(line.resequencer.waitMs);
    }
  });

  it('gives up the oldest gaps where the window is full, and jumps as far as the sender does', () => {
    const line = new Line();
    for (let counter = 1; counter <= WINDOW_PACKETS; counter++) line.take(counter);
    expect(line.out).toEqual(upTo(WINDOW_PACKETS + 1).slice(1));
    line.take(0xffff_ffff);
    line.take(0xffff_fffe);
    expect(line.out).toHaveLength(WINDOW_PACKETS);
    line.resequencer.due(WAIT_MOST_MS);
    expect(line.out.slice(-2)).toEqual([0xffff_fffe, 0xffff_ffff]);
    expect(line.resequencer.waiting).toBe(0);
  });

  it('asks for what was delivered to be written on before it puts another in its place', () => {
    const line = new Line();
    for (let counter = 1; counter < 40; counter++) line.take(counter);
    line.resequencer.due(WAIT_MOST_MS);
    expect(line.out).toHaveLength(39);
    // Their places are those of the first ones; the line throws where one is not whole any more.
    for (let counter = WINDOW_PACKETS + 39; counter > WINDOW_PACKETS; counter--) line.take(counter);
    line.resequencer.due(2 * WAIT_MOST_MS);
    line.flush();
    expect(line.out).toHaveLength(78);
  });

  it('holds no packet that is longer than a slot, and keeps the order around it', () => {
    const line = new Line((counter) => (counter === 3 ? SLOT_BYTES + 1 : 60));
    for (const counter of [0, 2, 4, 3, 5]) line.take(counter);
    expect(line.out).toEqual([0, 2, 3, 4, 5]);
  });

  it('delivers each packet once, in order but for those it gave up, whatever comes and whenever', () => {
    const moves = fc.array(fc.tuple(fc.integer({ min: -30, max: 60 }), fc.integer({ min: 0, max: 12 }), fc.boolean()), { maxLength: 600 });
    fc.assert(
      fc.property(moves, fc.constantFrom(1, 50), (list, factor) => {
        const line = new Line();
        const sent = new Set<number>();
        let around = 0;
        let nowMs = 0;
        for (const [step, afterMs, asksDue] of list) {
          const counter = Math.max(0, around + step * factor);
          nowMs += afterMs;
          if (!sent.has(counter)) line.take(counter, nowMs);
          sent.add(counter);
          around = Math.max(around, counter);
          if (asksDue) line.resequencer.due(nowMs);
          expect(line.resequencer.waiting).toBe(sent.size - line.out.length);
          expect(line.resequencer.waiting).toBeLessThan(WINDOW_PACKETS);
        }
        line.resequencer.due(nowMs + WAIT_MOST_MS);
        line.flush();
        expect([...line.out].sort((a, b) => a - b)).toEqual([...sent].sort((a, b) => a - b));
        let highest = -1;
        const behind = line.out.filter((counter) => {
          const isLate = counter < highest;
          highest = Math.max(highest, counter);
          return isLate;
        });
        // One that was given up may still overtake what is held behind a later gap.
        expect(behind.length).toBeLessThanOrEqual(line.resequencer.latePackets);
      }),
    );
  });
});

interface Link {
  readonly delayMs: number;
  readonly jitterMs: number;
  readonly loss: number;
  readonly packetsPerMs: number;
}

/** By then it has seen what the links are like. */
const SETTLED_MS = 2500;

/** Sends `count` packets of 1,400 bytes sprayed over `links`, each of which keeps its own order. @returns what came out at the end. */
function simulate(links: readonly Link[], count: number, packetsPerMs: number) {
  let seed = 20_261_127;
  const chance = () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed / 0x1_0000_0000;
  };
  const schedule = new Schedule();
  schedule.setPaths(
    links.map((link, path) => ({
      path,
      uplink: path,
      weightBitsPerSecond: link.packetsPerMs * 1e6,
      rttMs: link.delayMs * 2,
      mostBytes: 1440,
    })),
  );
  const freeAtMs = links.map(() => 0);
  const lastMs = links.map(() => 0);
  const arrivals: { counter: number; atMs: number }[] = [];
  for (let counter = 0; counter < count; counter++) {
    const path = schedule.choose({ class: 'aggregate', uplink: -1 }, 1, 1400);
    const link = links[path]!;
    freeAtMs[path] = Math.max(freeAtMs[path]!, counter / packetsPerMs) + 1 / link.packetsPerMs;
    lastMs[path] = Math.max(lastMs[path]!, freeAtMs[path]! + link.delayMs + chance() * link.jitterMs);
    if (chance() >= link.loss) arrivals.push({ counter, atMs: lastMs[path]! });
  }
  arrivals.sort((one, other) => one.atMs - other.atMs);
  const line = new Line(() => 1400);
  const cameAtMs = new Map<number, number>();
  let mostWaitMs = 0;
  let delivered = 0;
  let settled = 0;
  let sumWaitMs = 0;
  // A turn of the loop each millisecond, as a timer would wake it at the latest.
  let next = 0;
  for (let nowMs = 0; next < arrivals.length || line.resequencer.waiting > 0; nowMs++) {
    for (; next < arrivals.length && arrivals[next]!.atMs <= nowMs; next++) {
      cameAtMs.set(arrivals[next]!.counter, nowMs);
      line.take(arrivals[next]!.counter, nowMs);
    }
    line.resequencer.due(nowMs);
    for (; delivered < line.out.length; delivered++) {
      const waitMs = nowMs - cameAtMs.get(line.out[delivered]!)!;
      mostWaitMs = Math.max(mostWaitMs, waitMs);
      if (nowMs < SETTLED_MS) continue;
      settled++;
      sumWaitMs += waitMs;
    }
  }
  line.flush();
  expect(line.out).toHaveLength(arrivals.length);
  const raw = arrivals.filter(({ counter }, i) => i > 0 && counter < arrivals[i - 1]!.counter).length / arrivals.length;
  return { late: line.resequencer.latePackets / arrivals.length, raw, mostWaitMs, meanWaitMs: sumWaitMs / settled };
}

describe('class aggregate in a simulation', () => {
  const equal = { delayMs: 10, jitterMs: 3, loss: 0, packetsPerMs: 13.4 };
  it.each<[string, readonly Link[], number, number]>([
    ['two equal links of 150 Mbit/s with jitter', [equal, equal], 17.9, 10],
    [
      'two equal links that lose one in 100',
      [
        { ...equal, loss: 0.01 },
        { ...equal, loss: 0.01 },
      ],
      17.9,
      10,
    ],
    ['links of 10 and 30 ms one way', [equal, { ...equal, delayMs: 30 }], 17.9, 40],
    ['a quick and a slow link', [equal, { delayMs: 30, jitterMs: 6, loss: 0, packetsPerMs: 2.7 }], 12, 50],
    ['equal links, filled to the brim', [equal, equal], 26, 10],
  ])('reorders at most one in 1,000: %s', (_, links, packetsPerMs, mostWaitMs) => {
    const seen = simulate(links, 100_000, packetsPerMs);
    expect(seen.raw).toBeGreaterThan(0.01);
    expect(seen.late).toBeLessThanOrEqual(0.001);
    expect(seen.meanWaitMs).toBeLessThanOrEqual(mostWaitMs);
    expect(seen.mostWaitMs).toBeLessThanOrEqual(WAIT_MOST_MS + 1);
  });

  it('holds packets back for little where one is lost and nothing overtakes', () => {
    const seen = simulate([{ ...equal, loss: 0.02 }], 60_000, 10);
    expect(seen.late).toBe(0);
    expect(seen.meanWaitMs).toBeLessThan(3);
  });
});
