import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CLOCK_WINDOW_SECONDS } from './codec.ts';
import { MINUTE_SECONDS, ReplayStore, systemMonotonicSeconds } from './replay.ts';

/** Different for every number, and spread like random ones. */
function saltOf(number: number): Uint8Array {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(Math.imul(number + 1, 0x9e3779b1) >>> 0, 0);
  bytes.writeUInt32LE(Math.imul(number + 1, 0x85ebca6b) >>> 0, 4);
  bytes.writeUInt32LE(Math.imul(number + 1, 0xc2b2ae35) >>> 0, 8);
  return bytes;
}

describe('replay store', () => {
  it('says fresh once and replayed ever after, for any sequence', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 200 }), { maxLength: 100 }), (numbers) => {
        const store = new ReplayStore(ReplayStore.allocate(1000), () => 5);
        const seen = new Set<number>();
        for (const number of [...numbers, ...numbers]) {
          expect(store.admit(saltOf(number))).toBe(seen.has(number) ? 'replayed' : 'fresh');
          seen.add(number);
        }
      }),
    );
  });

  it('remembers for longer than a stamp is in time, and for two of its minutes at most', () => {
    // Stamped 30 s ahead of our clock in one second's first moment, and still in time in the last moment of the second 60 s later.
    expect(MINUTE_SECONDS).toBeGreaterThan(2 * CLOCK_WINDOW_SECONDS + 1);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000_000 }), fc.integer({ min: 0, max: 600 }), (start, laterSeconds) => {
        let now = start;
        const store = new ReplayStore(ReplayStore.allocate(10), () => now);
        store.admit(saltOf(1));
        now += laterSeconds;
        const admission = store.admit(saltOf(1));
        if (laterSeconds <= MINUTE_SECONDS) expect(admission).toBe('replayed');
        if (laterSeconds >= 2 * MINUTE_SECONDS) expect(admission).toBe('fresh');
      }),
    );
  });

  it('refuses when a minute is full, still knows what it has, counts the refusals, and takes salts again in the next minute', () => {
    let now = 0;
    const store = new ReplayStore(ReplayStore.allocate(1000), () => now);
    for (let i = 0; i < 1000; i++) expect(store.admit(saltOf(i))).toBe('fresh');
    expect(store.admit(saltOf(1000))).toBe('full');
    expect(store.rememberOwn(saltOf(1001))).toBe(false);
    expect(store.admit(saltOf(7))).toBe('replayed');
    expect(store.refused).toBe(2);
    now = MINUTE_SECONDS;
    for (let i = 1000; i < 2000; i++) expect(store.admit(saltOf(i))).toBe('fresh');
    expect(store.admit(saltOf(7))).toBe('replayed');
    expect(store.admit(saltOf(2000))).toBe('full');
  });

  it('never fills up over many minutes of full load', () => {
    let now = 0;
    const store = new ReplayStore(ReplayStore.allocate(200), () => now);
    for (let minute = 0; minute < 600; minute++) {
      now = minute * MINUTE_SECONDS;
      for (let i = 0; i < 200; i++) expect(store.admit(saltOf(minute * 200 + i))).toBe('fresh');
    }
  });

  it('finds a salt behind slots that have aged meanwhile', () => {
    fc.assert(
      fc.property(fc.nat({ max: 1_000_000 }), (first) => {
        let now = 0;
        const store = new ReplayStore(ReplayStore.allocate(32), () => now); // so small that the salts of both minutes crowd each other
        for (let i = 0; i < 32; i++) store.admit(saltOf(first + i));
        now = MINUTE_SECONDS;
        for (let i = 32; i < 64; i++) expect(store.admit(saltOf(first + i))).toBe('fresh');
        now = 2 * MINUTE_SECONDS;
        for (let i = 32; i < 64; i++) expect(store.admit(saltOf(first + i))).toBe('replayed');
      }),
    );
  });

  it('knows our own salts, so a reflected request is a replay', () => {
    const store = new ReplayStore(ReplayStore.allocate(10), () => 0);
    expect(store.rememberOwn(saltOf(1))).toBe(true);
    expect(store.admit(saltOf(1))).toBe('replayed');
  });

  it('is one store for two threads with different views of the minute', () => {
    const buffer = ReplayStore.allocate(10);
    const [ahead, behind] = [new ReplayStore(buffer, () => MINUTE_SECONDS + 1), new ReplayStore(buffer, () => MINUTE_SECONDS - 1)];
    expect(behind.admit(saltOf(1))).toBe('fresh');
    expect(ahead.admit(saltOf(1))).toBe('replayed');
    expect(ahead.admit(saltOf(2))).toBe('fresh');
    expect(behind.admit(saltOf(2))).toBe('replayed');
  });

  it('admits each salt once, however two threads race for it', async () => {
    const count = 20_000;
    const buffer = ReplayStore.allocate(2 * count);
    const source = `
      import { parentPort, workerData } from 'node:worker_threads';
      const { ReplayStore } = await import(workerData.module);
      const store = new ReplayStore(workerData.buffer);
      const results = [];
      const gate = new Int32Array(workerData.gate);
      Atomics.add(gate, 0, 1);
      while (Atomics.load(gate, 0) < 2);
      for (const salt of workerData.salts) results.push(store.admit(salt));
      parentPort.postMessage(results);
    `;
    const salts = Array.from({ length: count }, (_, i) => saltOf(i));
    const workerData = { buffer, salts, gate: new SharedArrayBuffer(4), module: new URL('./replay.ts', import.meta.url).href };
    const answers = await Promise.all(
      [0, 1].map(
        () =>
          new Promise<string[]>((resolve, reject) => {
            const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), { workerData });
            worker.once('message', (results: string[]) => {
              resolve(results);
              void worker.terminate();
            });
            worker.once('error', reject);
          }),
      ),
    );
    for (let i = 0; i < count; i++) expect([answers[0]![i], answers[1]![i]].sort()).toEqual(['fresh', 'replayed']);
  });

  it('fails closed when a thread died holding the lock', () => {
    const store = new ReplayStore(ReplayStore.allocate(10), () => 0);
    new Int32Array(store.buffer)[0] = 1;
    expect(store.admit(saltOf(1))).toBe('full');
  });

  it('reads a clock that all threads share', () => {
    expect(Math.abs(systemMonotonicSeconds() - Number(process.hrtime.bigint() / 1_000_000_000n))).toBeLessThanOrEqual(1);
  });
});
