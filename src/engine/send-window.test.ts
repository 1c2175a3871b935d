import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeClock } from '../kernel/clock.ts';
import { TCP_ESTABLISHED } from '../kernel/mptcp-info.ts';
import type { Sockets } from '../kernel/sockets.ts';
import { Counters } from '../status/counters.ts';
import { Flow, type SubflowFigures } from './flow.ts';
import { at } from './pair.fixture.ts';
import { FLOW_LEAST_BYTES, SendWindow, WINDOW_FIRST_BYTES, WINDOW_LEAST_BYTES } from './send-window.ts';

const READ_BYTES = 4 * 65_535;
const SEGMENT_BYTES = 8_192;

const figures: SubflowFigures = {
  local: at('10.0.0.1', 1),
  remote: at('10.0.0.2', 2),
  path: 0,
  isExact: true,
  bornAtMs: 0,
  state: 0,
  rttMs: 20,
  ackedBytes: 0,
  receivedBytes: 0,
  ackedAtMs: 0,
  receivedAtMs: 0,
  notSentBytes: 0,
  lastAckAtMs: 0,
  unackedSinceMs: 0,
  seen: true,
};

/** A path of so many bytes a millisecond, with flows that always have something to send: what the kernel holds drains at that rate. */
class Wire {
  readonly clock = new FakeClock();
  readonly counters = new Counters(1);
  readonly queued = new Map<number, number>();
  asked = 0;
  rate: number;
  rttMs: number;
  readonly window: SendWindow;
  #sent: { readonly atMs: number; readonly fd: number; readonly bytes: number }[] = [];
  #freeAtMs = 0;

  constructor(rate: number, rttMs: number) {
    this.rate = rate;
    this.rttMs = rttMs;
    const clock = this.clock;
    clock.advance(1_000);
    this.window = new SendWindow({
      sockets: {
        unackedBytes: (fd: number) => {
          this.asked++;
          return this.queued.get(fd) ?? 0;
        },
      } as Sockets,
      counters: this.counters,
      sampler: { minRttMs: (_, path) => (path === 0 ? this.rttMs / 2 : this.rttMs) },
      near: { pathsOf: () => ({ carry: [0, 1] }) },
      get nowMs() {
        return clock.nowMs();
      },
    });
  }

  flow(fd: number): Flow {
    const flow = new Flow(fd, 'near', 0);
    flow.peer = 0;
    flow.wanFd = fd;
    return flow;
  }

  /** As a pump writes, where it may. */
  write(flow: Flow, mostBytes = READ_BYTES): boolean {
    if (!this.window.opens(flow)) return false;
    const bytes = Math.min(mostBytes, Math.ceil(flow.creditBytes / 65_535) * 65_535);
    flow.wroteBytes += bytes;
    flow.creditBytes -= bytes;
    this.queued.set(flow.wanFd, (this.queued.get(flow.wanFd) ?? 0) + bytes);
    for (let left = bytes; left > 0; left -= SEGMENT_BYTES) {
      const segment = Math.min(left, SEGMENT_BYTES);
      this.#freeAtMs = Math.max(this.#freeAtMs, this.clock.nowMs()) + segment / this.rate;
      this.#sent.push({ atMs: this.#freeAtMs + this.rttMs, fd: flow.wanFd, bytes: segment });
    }
    return true;
  }

  /** @returns bytes that arrived in `ms`, and the most that was ever under way. */
  run(flows: readonly Flow[], ms: number): { readonly bytes: number; readonly mostBytes: number } {
    let arrived = 0;
    let mostBytes = 0;
    for (let passed = 0; passed < ms; passed++) {
      this.clock.advance(1);
      const now = this.clock.nowMs();
      for (const { fd, bytes } of this.#sent.filter(({ atMs }) => atMs <= now)) {
        this.queued.set(fd, this.queued.get(fd)! - bytes);
        arrived += bytes;
      }
      this.#sent = this.#sent.filter(({ atMs }) => atMs > now);
      for (const flow of flows) for (let i = 0; i < 4 && this.write(flow); i++);
      let under = 0;
      for (const bytes of this.queued.values()) under += bytes;
      mostBytes = Math.max(mostBytes, under);
    }
    return { bytes: arrived, mostBytes };
  }
}

describe('the window of a peer', () => {
  it.each([
    [10, 20],
    [100, 20],
    [1_000, 20],
    [1_000, 80],
    [5_000, 1],
  ])('fills paths of %i Mbit/s and %i ms within half a second, and holds what is under way near what they need', (mbits, rttMs) => {
    const rate = mbits * 125;
    const wire = new Wire(rate, rttMs);
    const flow = wire.flow(1);
    wire.run([flow], 500);
    const grown = wire.run([flow], 500);
    const { bytes, mostBytes } = wire.run([flow], 1_900);
    expect(grown.bytes).toBeGreaterThan(0.93 * rate * 500);
    expect(bytes).toBeGreaterThan(0.93 * rate * 1_900);
    const needed = rate * Math.max(1.5 * rttMs, rttMs + 15);
    expect(mostBytes).toBeLessThan(Math.max(WINDOW_LEAST_BYTES, 2.2 * needed) + 2 * READ_BYTES);
    const settled = wire.run([flow], 500);
    expect(settled.bytes).toBeGreaterThan(0.93 * rate * 500);
    expect(wire.counters.peer(0).windowBytes).toBeLessThanOrEqual(Math.max(WINDOW_LEAST_BYTES, 2.3 * needed));
  });

  it('lets 1 Gbit/s at 20 ms through within 300 ms', () => {
    const wire = new Wire(125_000, 20);
    const flow = wire.flow(1);
    wire.run([flow], 300);
    expect(wire.run([flow], 100).bytes).toBeGreaterThan(0.93 * 125_000 * 100);
  });

  it('grows again where a path comes back, and shrinks where one goes', () => {
    const wire = new Wire(6_250, 20);
    const flow = wire.flow(1);
    wire.run([flow], 3_000);
    wire.rate = 12_500;
    wire.run([flow], 1_000);
    expect(wire.run([flow], 500).bytes).toBeGreaterThan(0.93 * 12_500 * 500);
    wire.rate = 3_000;
    wire.run([flow], 3_000);
    expect(wire.run([flow], 500).mostBytes).toBeLessThan(WINDOW_FIRST_BYTES);
  });

  it('is shared by the flows that it holds back, none of which starves', () => {
    const wire = new Wire(12_500, 20);
    const flows = [1, 2, 3, 4].map((fd) => wire.flow(fd));
    wire.run(flows, 2_000);
    const { bytes, mostBytes } = wire.run(flows, 1_000);
    expect(bytes).toBeGreaterThan(0.93 * 12_500 * 1_000);
    expect(mostBytes).toBeLessThan(2.2 * 12_500 * 35 + 4 * READ_BYTES);
    for (const flow of flows) expect(flow.wroteBytes).toBeGreaterThan((12_500 * 3_000) / 4 / 2);
  });

  it('never holds a thin flow back, however busy the others are', () => {
    const wire = new Wire(1_250, 20);
    const bulk = [1, 2, 3].map((fd) => wire.flow(fd));
    const thin = wire.flow(9);
    for (let i = 0; i < 200; i++) {
      wire.run(bulk, 10);
      if ((wire.queued.get(9) ?? 0) < FLOW_LEAST_BYTES) expect(wire.write(thin, 100)).toBe(true);
    }
  });

  it('is left open until the kernel refuses where one of two paths runs dry, ever more rarely', () => {
    const wire = new Wire(12_500, 20);
    const flow = wire.flow(1);
    const subflow = (notSentBytes: number) => ({ ...figures, state: TCP_ESTABLISHED, notSentBytes });
    flow.subflows.push(subflow(60_000), subflow(60_000));
    wire.run([flow], 1_000);
    expect(flow.isFlooding).toBe(false);
    flow.subflows[1]!.notSentBytes = 0;
    const floods: number[] = [];
    for (let passed = 0; passed < 5_000; passed += 10) {
      wire.run([flow], 10);
      if (flow.isFlooding) floods.push(passed);
      flow.isFlooding = false; // as the pump does when the kernel refuses
    }
    expect(floods.length).toBeGreaterThan(3);
    expect(floods.length).toBeLessThan(8);
    expect(floods[1]! - floods[0]!).toBeLessThan(400);
  });

  it('stays as it is where one of two paths runs dry because the other hears nothing any more', () => {
    const wire = new Wire(12_500, 20);
    const flow = wire.flow(1);
    flow.subflows.push(
      { ...figures, state: TCP_ESTABLISHED, notSentBytes: 60_000 },
      { ...figures, state: TCP_ESTABLISHED, notSentBytes: 60_000 },
    );
    wire.run([flow], 2_500);
    const before = wire.counters.peer(0).windowBytes;
    Object.assign(flow.subflows[0]!, { unackedSinceMs: wire.clock.nowMs(), lastAckAtMs: wire.clock.nowMs() });
    flow.subflows[1]!.notSentBytes = 0;
    wire.rate = 6_250;
    for (let passed = 0; passed < 1_000; passed += 10) {
      wire.run([flow], 10);
      expect(flow.isFlooding).toBe(false);
    }
    expect(wire.counters.peer(0).windowBytes).toBeLessThan(1.6 * before);
  });

  it('is no wider than the paths need while all of them have more to send than 15 ms take, and takes back soon what a dry one was given', () => {
    const [rate, rttMs] = [12_500, 60];
    const wire = new Wire(rate, rttMs);
    const flow = wire.flow(1);
    const subflow = (notSentBytes: number) => ({ ...figures, state: TCP_ESTABLISHED, notSentBytes });
    flow.subflows.push(subflow(0), subflow(300_000));
    const run = (ms: number) => {
      const until = wire.clock.nowMs() + ms;
      while (wire.clock.nowMs() < until) {
        wire.run([flow], 10);
        flow.isFlooding = false; // as the pump does when the kernel refuses
      }
      return wire.counters.peer(0).windowBytes;
    };
    const needed = 1.5 * rate * rttMs;
    expect(run(2_000)).toBeGreaterThan(2 * needed);
    flow.subflows[0]!.notSentBytes = 300_000;
    expect(run(700)).toBeLessThan(1.1 * needed);
    // Not even for the one round now and then.
    for (let i = 0; i < 50; i++) expect(run(60)).toBeLessThan(1.1 * needed);
    // What lies in one path only says nothing of the other.
    flow.subflows[0]!.notSentBytes = 1;
    flow.subflows[1]!.notSentBytes = 100_000;
    let most = 0;
    for (let i = 0; i < 50; i++) most = Math.max(most, run(60));
    expect(most).toBeGreaterThan(1.9 * needed);
  });

  it('asks the kernel rarely: for a quarter of the window, or each millisecond while it holds back', () => {
    const wire = new Wire(1e9, 0);
    const flow = wire.flow(1);
    let writes = 0;
    for (let i = 0; i < 2_000; i++) {
      wire.queued.set(1, 0);
      if (wire.write(flow)) writes++;
      if (i % 4 === 3) wire.clock.advance(1);
    }
    expect(writes).toBe(2_000);
    expect(wire.asked).toBeLessThan(writes / 4);
    wire.queued.set(1, 1e9);
    wire.write(flow, flow.creditBytes);
    flow.creditBytes = 0;
    const before = wire.asked;
    for (let i = 0; i < 100; i++) expect(wire.window.opens(flow)).toBe(false);
    expect(wire.asked - before).toBe(1);
  });

  it('never closes for good, whatever the kernel says when', () => {
    const step = fc.record({
      ms: fc.integer({ min: 0, max: 400 }),
      queued: fc.integer({ min: 0, max: 1e9 }),
      bytes: fc.integer({ min: 1, max: READ_BYTES }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const wire = new Wire(1_000, 10);
        const flow = wire.flow(1);
        for (const { ms, queued, bytes } of steps) {
          wire.clock.advance(ms);
          wire.queued.set(1, queued);
          wire.write(flow, bytes);
        }
        wire.clock.advance(5);
        wire.queued.set(1, 0);
        expect(wire.window.opens(flow)).toBe(true);
        expect(flow.creditBytes).toBeGreaterThan(0);
      }),
    );
  });
});
