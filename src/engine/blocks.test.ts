import { describe, expect, it } from 'vitest';
import { Slab } from '../native/index.ts';
import { BlockPool, Held } from './blocks.ts';
import { Deadlines } from './deadlines.ts';

const source = new Slab(400_000);
for (let i = 0; i < source.lengthBytes; i++) source.bytes[i] = (i * 7 + (i >>> 8)) & 0xff;

function bytesOf(held: Held): Buffer {
  return held.slab.bytes.subarray(held.start, held.start + held.length);
}

describe('held bytes', () => {
  it('go out in the order they came, from the front, and give their block back with the last one', () => {
    const pool = new BlockPool(1 << 20);
    const held = new Held(pool);
    expect(held.put(source, 100, 5_000)).toBe(true);
    held.advance(1_000);
    expect(bytesOf(held).equals(source.bytes.subarray(1_100, 5_100))).toBe(true);
    held.advance(4_000);
    expect([held.length, pool.usedBytes]).toEqual([0, 0]);
  });

  it('are gathered from pieces in one block of the size that was announced', () => {
    const pool = new BlockPool(1 << 20);
    const held = new Held(pool);
    for (let i = 0; i < 10; i++) expect(held.append(source, i * 3_000, 2_000, 20_000)).toBe(true);
    expect(held.length).toBe(20_000);
    expect(pool.usedBytes).toBe(20_480);
    expect(bytesOf(held).subarray(2_000, 4_000).equals(source.bytes.subarray(3_000, 5_000))).toBe(true);
    expect(held.append(source, 0, 500, 20_000)).toBe(false);
  });

  it('are replaced by a put, in the same block where they fit and in a bigger one where not', () => {
    const pool = new BlockPool(1 << 20);
    const held = new Held(pool);
    held.put(source, 0, 100);
    held.put(source, 7, 200);
    expect(pool.usedBytes).toBe(4_096);
    held.put(source, 9, 300_000);
    expect(pool.usedBytes).toBe(336_000);
    expect(bytesOf(held).equals(source.bytes.subarray(9, 300_009))).toBe(true);
    held.clear();
    held.clear();
    expect(pool.usedBytes).toBe(0);
  });

  it('are refused beyond the limit and beyond the largest block, and what was held before stays counted right', () => {
    const pool = new BlockPool(10_000);
    const [one, other, third] = [new Held(pool), new Held(pool), new Held(pool)];
    expect([one.put(source, 0, 4_000), other.put(source, 0, 4_000), third.put(source, 0, 4_000)]).toEqual([true, true, false]);
    expect(pool.usedBytes).toBe(8_192);
    one.clear();
    expect(third.put(source, 0, 4_000)).toBe(true);
    expect(new Held(new BlockPool(1 << 30)).put(source, 0, 336_001)).toBe(false);
  });

  it('do not make the pool keep more than it may', () => {
    const pool = new BlockPool(1 << 30);
    const helds = Array.from({ length: 100 }, () => new Held(pool));
    const slabs = new Set<Slab>();
    for (const held of helds) {
      held.put(source, 0, 300_000);
      slabs.add(held.slab);
    }
    for (const held of helds) held.clear();
    let again = 0;
    for (const held of helds) {
      held.put(source, 0, 300_000);
      if (slabs.has(held.slab)) again++;
    }
    // 8 MiB of blocks of 336,000 bytes.
    expect(again).toBe(24);
  });
});

describe('deadlines', () => {
  it('come in the order they were set, each once, and not before their time', () => {
    const deadlines = new Deadlines<string>(100);
    deadlines.add('one', 0);
    deadlines.add('two', 10);
    deadlines.add('three', 20);
    deadlines.remove('two');
    deadlines.add('one', 30);
    expect([deadlines.size, deadlines.oldest()]).toEqual([2, 'three']);
    // It may be asked a little early, where what was first has left; never late.
    expect(deadlines.nextAtMs()).toBeLessThanOrEqual(120);
    expect(deadlines.take(119)).toBeUndefined();
    expect(deadlines.nextAtMs()).toBe(120);
    expect([deadlines.take(200), deadlines.take(200), deadlines.take(200)]).toEqual(['three', 'one', undefined]);
    expect([deadlines.nextAtMs(), deadlines.oldest()]).toEqual([Number.POSITIVE_INFINITY, undefined]);
  });
});
