import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DelayQueue, NO_SLOT } from './queue.ts';

describe('the queue of frames under way', () => {
  it('has no slot left when it is full, and one more for each frame that left', () => {
    const queue = new DelayQueue(2);
    const [one, two] = [queue.acquire(), queue.acquire()];
    expect(queue.acquire()).toBe(NO_SLOT);
    queue.push(one, 60, 5);
    queue.push(two, 61, 4);
    expect(queue.shift()).toBe(two);
    expect(queue.acquire()).toBe(NO_SLOT);
    queue.release(two);
    expect(queue.acquire()).toBe(two);
  });

  it('is due never while it is empty', () => {
    expect(new DelayQueue(4).nextDueMs()).toBe(Number.POSITIVE_INFINITY);
  });

  it('gives frames in the order in which they are due, equals in the order in which they came, as a sorted list does', () => {
    const step = fc.oneof(fc.record({ dueMs: fc.integer({ min: 0, max: 9 }) }), fc.constant('shift' as const));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const queue = new DelayQueue(8);
        let list: { slot: number; dueMs: number; length: number }[] = [];
        for (const [i, what] of steps.entries()) {
          if (what === 'shift') {
            if (list.length === 0) continue;
            const first = list.shift()!;
            expect(queue.shift()).toBe(first.slot);
            expect(queue.lengthBytes[first.slot]).toBe(first.length);
            queue.release(first.slot);
          } else {
            const slot = queue.acquire();
            expect(slot === NO_SLOT).toBe(list.length === 8);
            if (slot === NO_SLOT) continue;
            queue.push(slot, i, what.dueMs);
            list = [...list, { slot, dueMs: what.dueMs, length: i }].sort((a, b) => a.dueMs - b.dueMs); // stable
          }
          expect(queue.size).toBe(list.length);
          expect(queue.nextDueMs()).toBe(list[0]?.dueMs ?? Number.POSITIVE_INFINITY);
        }
      }),
    );
  });
});
