import { describe, expect, it } from 'vitest';
import type { Flow } from './flow.ts';
import { Bench } from './subflows.fixture.ts';

const UNDER_WAY_BYTES = 500_000;

/** A bulk flow over two paths; path 0 is the one that dies. */
class Bulk {
  readonly bench = new Bench();
  readonly flow: Flow;

  constructor() {
    this.flow = this.bench.flow(0);
    this.flow.isUsers = true;
    this.bench.carry([0, 1], [1, 1, 1]);
    this.bench.settle();
    this.flow.wroteBytes = 1_000_000;
    this.unacked = UNDER_WAY_BYTES;
    this.pass(5);
  }

  set unacked(bytes: number) {
    this.bench.unacked.set(this.flow.wanFd, bytes);
  }

  get unacked(): number {
    return this.bench.unacked.get(this.flow.wanFd) ?? 0;
  }

  /** The kernel's count of what came over a path, or was acknowledged on it. */
  grow(path: number, of: 'bytesAcked' | 'bytesReceived', bytes: number): void {
    const subflow = this.bench.kernel(this.flow).subflows.find(({ local }) => local.bytes[1] === path);
    if (subflow) Object.assign(subflow, { [of]: subflow[of] + bytes });
  }

  /** Time goes by, a millisecond at a time, and each one something happens. */
  pass(ms: number, each: () => void = () => {}): void {
    for (let i = 0; i < ms; i++) {
      this.bench.clock.advance(1);
      each();
      this.bench.sampler.sample(this.flow);
      this.bench.settle();
    }
  }

  die(): void {
    this.bench.carry([1], [0, 1, 1]);
    this.bench.settle();
  }

  get paths(): number[] {
    return this.bench.paths(this.flow);
  }

  get isHeldUp(): boolean {
    return this.bench.now() < this.flow.heldUpUntilMs;
  }
}

describe('a subflow on a path that died', () => {
  it('is kept, and nothing is written, while the peer acknowledges in order; gone once it lacks something', () => {
    const bulk = new Bulk();
    const arrives = () => {
      bulk.unacked -= 5_000;
      bulk.grow(1, 'bytesAcked', 2_500);
    };
    bulk.pass(10, arrives);
    bulk.flow.isFlooding = true;
    bulk.die();
    expect([bulk.flow.isFlooding, bulk.flow.creditBytes]).toEqual([false, 0]);
    bulk.pass(30, arrives);
    expect(bulk.paths).toEqual([0, 1]);
    expect(bulk.isHeldUp).toBe(true);
    bulk.pass(12, () => bulk.grow(1, 'bytesAcked', 2_500));
    expect(bulk.paths).toEqual([1]);
    expect(bulk.isHeldUp).toBe(false);
  });

  it('is kept while acknowledgements are late on all paths, for a moment', () => {
    const bulk = new Bulk();
    bulk.pass(5, () => {
      bulk.unacked -= 5_000;
    });
    bulk.die();
    bulk.pass(15);
    expect(bulk.paths).toEqual([0, 1]);
    bulk.pass(15);
    expect(bulk.paths).toEqual([1]);
  });

  it('goes at once after a silent death, where the peer has lacked something for long', () => {
    const bulk = new Bulk();
    bulk.pass(60, () => bulk.grow(1, 'bytesAcked', 2_500));
    bulk.die();
    expect(bulk.paths).toEqual([1]);
    expect(bulk.isHeldUp).toBe(false);
  });

  it('goes at once where little is under way, and once little is left', () => {
    const thin = new Bulk();
    thin.unacked = 1_000;
    thin.pass(5, () => thin.grow(0, 'bytesReceived', 100));
    thin.die();
    expect(thin.paths).toEqual([1]);
    const bulk = new Bulk();
    const arrives = () => {
      bulk.unacked = Math.max(0, bulk.unacked - 10_000);
    };
    bulk.pass(5, arrives);
    bulk.die();
    bulk.pass(30, arrives);
    expect(bulk.paths).toEqual([0, 1]);
    bulk.pass(20, arrives);
    expect(bulk.paths).toEqual([1]);
  });

  it('is kept while data comes over it and we have nothing to say, and no longer', () => {
    const comes = (bulk: Bulk) => () => bulk.grow(0, 'bytesReceived', 2_500);
    const quiet = new Bulk();
    quiet.unacked = 0;
    quiet.pass(10, comes(quiet));
    quiet.die();
    quiet.pass(40, comes(quiet));
    expect(quiet.paths).toEqual([0, 1]);
    quiet.pass(12);
    expect(quiet.paths).toEqual([1]);
    const talks = new Bulk();
    talks.unacked = 0;
    talks.pass(10, comes(talks));
    talks.die();
    talks.pass(10, comes(talks));
    expect(talks.paths).toEqual([0, 1]);
    talks.flow.isHeldUp = true;
    talks.pass(5, comes(talks));
    expect(talks.paths).toEqual([1]);
  });

  it('is not kept for ever, whatever comes over it', () => {
    const bulk = new Bulk();
    bulk.unacked = 0;
    const comes = () => bulk.grow(0, 'bytesReceived', 10);
    bulk.pass(10, comes);
    bulk.die();
    bulk.pass(1_100, comes);
    expect(bulk.paths).toEqual([1]);
  });

  it('is no matter where the path lives and is left for another reason', () => {
    const bulk = new Bulk();
    const arrives = () => {
      bulk.unacked -= 1_000;
    };
    bulk.pass(10, arrives);
    bulk.bench.carry([1], [1, 1, 1]);
    bulk.bench.settle();
    expect(bulk.paths).toEqual([1]);
  });
});
