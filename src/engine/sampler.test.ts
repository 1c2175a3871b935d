import { describe, expect, it } from 'vitest';
import { subflowOf } from '../kernel/memory-path-manager.ts';
import type { SubflowSnapshot } from '../kernel/mptcp-info.ts';
import type { Sockets } from '../kernel/sockets.ts';
import { Counters, pathIndexOf } from '../status/counters.ts';
import { Flow } from './flow.ts';
import type { FromWorker } from './messages.ts';
import { at, peerOf, siteOf } from './pair.fixture.ts';
import { Sampler } from './sampler.ts';

const site = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2), peerOf(1, 'paris', 18, 1, 3)]);

function subflow(local: string, remote: string, port: number, acked: number, received: number, rttMs = 5): SubflowSnapshot {
  const known = { rttMicroseconds: rttMs * 1_000, minRttMicroseconds: rttMs * 500, bytesAcked: acked, bytesReceived: received };
  return subflowOf(at(local, 40_000), at(remote, port), known);
}

class Sampled {
  readonly counters = new Counters(2);
  readonly flows = new Set<Flow>();
  readonly said = new Map<number, SubflowSnapshot[] | undefined>();
  readonly unacked = new Map<number, number>();
  readonly posted: FromWorker[] = [];
  readonly gone: Flow[] = [];
  readonly came: Flow[] = [];
  readonly plain: Flow[] = [];
  asked = 0;
  nowMs = 123;
  readonly sampler: Sampler;

  constructor() {
    const mptcp = (fd: number) => {
      this.asked++;
      const subflows = this.said.get(fd);
      return subflows && { token: fd, subflows };
    };
    const now = () => this.nowMs;
    this.sampler = new Sampler({
      site,
      sockets: { mptcp, unackedBytes: (fd: number) => this.unacked.get(fd) ?? 0 } as Sockets,
      counters: this.counters,
      flows: this.flows,
      get nowMs() {
        return now();
      },
      post: (message) => this.posted.push(message),
      subflows: { gone: (flow) => this.gone.push(flow), came: (flow: Flow) => this.came.push(flow) },
      plain: { look: (flow) => this.plain.push(flow) },
      near: { pathsOf: () => ({}) },
    });
  }

  flow(peer: number, side: 'near' | 'far' = 'near'): Flow {
    const flow = new Flow(this.flows.size + 1, side, 0);
    flow.peer = peer;
    flow.isUsers = true;
    flow.phase = 'open';
    flow.wanFd = 100 + this.flows.size;
    this.flows.add(flow);
    return flow;
  }

  path(index: number) {
    const { subflows, txBytes, rxBytes } = this.counters.path(index);
    return [subflows, txBytes, rxBytes];
  }
}

describe('the figures of a path', () => {
  it('are bytes only of what carries nobody: it is no work', () => {
    const sampled = new Sampled();
    const flow = sampled.flow(0);
    flow.isUsers = false;
    for (const bytes of [100, 200]) {
      sampled.said.set(flow.wanFd, [{ ...subflow('10.0.0.1', '10.0.0.2', 8388, bytes, bytes), unackedSegments: 1 }]);
      sampled.sampler.sample(flow);
    }
    expect(sampled.counters.path(0)).toMatchObject({ txBytes: 200, lastAckAtMs: 0, lastDataAtMs: 0, waitingSinceMs: 0 });
  });

  it('grow by what is new of each subflow on it', () => {
    const sampled = new Sampled();
    const flow = sampled.flow(0);
    sampled.said.set(flow.wanFd, [subflow('10.0.0.1', '10.0.0.2', 8388, 100, 10)]);
    expect(sampled.sampler.sample(flow)).toBe(1);
    sampled.said.set(flow.wanFd, [subflow('10.0.0.1', '10.0.0.2', 8388, 150, 30, 7), subflow('10.1.0.1', '10.1.0.2', 8388, 5, 6)]);
    expect(sampled.sampler.sample(flow)).toBe(2);
    expect([sampled.path(0), sampled.path(1), sampled.path(pathIndexOf(1, 0))]).toEqual([
      [1, 150, 30],
      [1, 5, 6],
      [0, 0, 0],
    ]);
    expect(sampled.counters.path(0)).toMatchObject({ rttMs: 7, heardAtMs: 123 });
  });

  it('lose a subflow that is gone and keep its bytes, and lose all of a flow at its end', () => {
    const sampled = new Sampled();
    const flow = sampled.flow(1);
    sampled.said.set(flow.wanFd, [subflow('10.0.0.1', '10.0.0.3', 8388, 100, 10), subflow('10.1.0.1', '10.1.0.3', 8388, 7, 8)]);
    sampled.sampler.sample(flow);
    sampled.said.set(flow.wanFd, [subflow('10.1.0.1', '10.1.0.3', 8388, 9, 8)]);
    sampled.sampler.sample(flow);
    expect([sampled.path(pathIndexOf(1, 0)), sampled.path(pathIndexOf(1, 1))]).toEqual([
      [0, 100, 10],
      [1, 9, 8],
    ]);
    // Reset by the peer: the kernel has nothing to tell any more.
    sampled.said.set(flow.wanFd, undefined);
    expect(sampled.sampler.last(flow)).toBe(2);
    expect([sampled.path(pathIndexOf(1, 0)), sampled.path(pathIndexOf(1, 1))]).toEqual([
      [0, 100, 10],
      [0, 9, 8],
    ]);
  });

  it('take a caller behind NAT by the uplink that it came over, and leave out what belongs to no path', () => {
    const sampled = new Sampled();
    const caller = sampled.flow(0, 'far');
    sampled.said.set(caller.wanFd, [subflow('10.1.0.1', '203.0.113.9', 51_234, 40, 50)]);
    sampled.sampler.sample(caller);
    expect(sampled.path(1)).toEqual([1, 40, 50]);
    const strange = sampled.flow(0);
    sampled.said.set(strange.wanFd, [subflow('10.0.0.1', '10.0.0.2', 9_999, 1, 1), subflow('192.0.2.1', '10.0.0.2', 8388, 1, 1)]);
    expect(sampled.sampler.sample(strange)).toBe(2);
    expect(sampled.path(0)).toEqual([0, 0, 0]);
    sampled.sampler.last(strange);
    expect(sampled.path(0)).toEqual([0, 0, 0]);
  });

  it('never shrink: a subflow that counts from zero again adds what it has now', () => {
    const sampled = new Sampled();
    const flow = sampled.flow(0);
    const sample = (acked: number, received: number) => {
      sampled.said.set(flow.wanFd, [subflow('10.0.0.1', '10.0.0.2', 8388, acked, received)]);
      sampled.sampler.sample(flow);
      return sampled.path(0);
    };
    expect(sample(1_000, 500)).toEqual([1, 1_000, 500]);
    expect(sample(30, 600)).toEqual([1, 1_030, 600]);
    expect(sample(40, 20)).toEqual([1, 1_040, 620]);
    expect(sample(50, 30)).toEqual([1, 1_050, 630]);
  });

  it('are asked for a hundred flows a tick, and in turn for all', () => {
    const sampled = new Sampled();
    for (let i = 0; i < 250; i++) sampled.said.set(sampled.flow(0).wanFd, [subflow('10.0.0.1', '10.0.0.2', 8388, 1, 0)]);
    sampled.sampler.tick();
    expect(sampled.asked).toBe(100);
    sampled.sampler.tick();
    sampled.sampler.tick();
    expect(sampled.asked).toBe(250);
    expect(sampled.path(0)).toEqual([250, 250, 0]);
  });
});

describe('flows that move bytes', () => {
  /** A flow that moved `bytes`, as its pumps count them. */
  function moved(sampled: Sampled, flow: Flow, bytes: number): void {
    flow.up = { movedBytes: (flow.up?.movedBytes ?? 0) + bytes } as Flow['up'];
    sampled.sampler.noteTurn(flow);
  }

  function pass(sampled: Sampled, ms: number): void {
    for (let passed = 0; passed < ms; passed++) {
      sampled.nowMs++;
      sampled.sampler.seeWhatIsDue(sampled.nowMs);
    }
  }

  it('are asked each five milliseconds, and half a second after the last byte no more', () => {
    const sampled = new Sampled();
    const flow = sampled.flow(0);
    sampled.said.set(flow.wanFd, [subflow('10.0.0.1', '10.0.0.2', 8388, 1, 0)]);
    expect(sampled.sampler.nextAtMs()).toBe(Number.POSITIVE_INFINITY);
    moved(sampled, flow, 100);
    pass(sampled, 100);
    expect(sampled.asked).toBe(20);
    pass(sampled, 2_000);
    expect(sampled.asked).toBeLessThan(110);
    expect(sampled.sampler.nextAtMs()).toBe(Number.POSITIVE_INFINITY);
  });

  it('are asked on while their data waits, however long', () => {
    const sampled = new Sampled();
    const flow = sampled.flow(0);
    sampled.said.set(flow.wanFd, [{ ...subflow('10.0.0.1', '10.0.0.2', 8388, 1, 0), unackedSegments: 1, lastAckRecvMs: 90_000 }]);
    moved(sampled, flow, 100);
    pass(sampled, 3_000);
    expect(sampled.asked).toBe(600);
    expect(sampled.counters.path(0).waitingSinceMs).toBe(124);
    sampled.said.set(flow.wanFd, [subflow('10.0.0.1', '10.0.0.2', 8388, 2, 0)]);
    pass(sampled, 20);
    expect(sampled.sampler.nextAtMs()).toBe(Number.POSITIVE_INFINITY);
  });

  it('are asked sixteen a tick, the busiest each time and all of them in turn', () => {
    const sampled = new Sampled();
    const flows = Array.from({ length: 100 }, () => sampled.flow(0));
    const asked = new Map<Flow, number>();
    for (const flow of flows) {
      sampled.said.set(flow.wanFd, [subflow('10.0.0.1', '10.0.0.2', 8388, 1, 0)]);
      moved(sampled, flow, 10);
    }
    for (let tick = 0; tick < 60; tick++) {
      for (const flow of flows) moved(sampled, flow, flow === flows[77] ? 1_000_000 : 10);
      const before = sampled.asked;
      pass(sampled, 5);
      expect(sampled.asked - before).toBeLessThanOrEqual(16);
      for (const flow of flows) if (flow.sampledAtMs > sampled.nowMs - 5) asked.set(flow, (asked.get(flow) ?? 0) + 1);
    }
    for (const flow of flows) expect(asked.get(flow) ?? 0).toBeGreaterThan(0);
    expect(asked.get(flows[77]!)).toBeGreaterThan(35);
  });

  it('tell the main thread when a peer begins to be busy, and each half second that it is', () => {
    const sampled = new Sampled();
    const [one, other] = [sampled.flow(0), sampled.flow(1)];
    for (const flow of [one, other]) sampled.said.set(flow.wanFd, []);
    moved(sampled, one, 1);
    pass(sampled, 300);
    moved(sampled, one, 1);
    expect(sampled.posted).toEqual([{ kind: 'busy', peer: 0 }]);
    moved(sampled, other, 1);
    pass(sampled, 499);
    moved(sampled, one, 1);
    expect(sampled.posted.slice(1)).toEqual([
      { kind: 'busy', peer: 1 },
      { kind: 'busy', peer: 0 },
    ]);
  });

  it('tell of a subflow that is gone and of a connection that is plain', () => {
    const sampled = new Sampled();
    const flow = sampled.flow(0);
    sampled.said.set(flow.wanFd, [subflow('10.0.0.1', '10.0.0.2', 8388, 1, 0), subflow('10.1.0.1', '10.1.0.2', 8388, 1, 0)]);
    sampled.sampler.sample(flow);
    sampled.said.set(flow.wanFd, [subflow('10.1.0.1', '10.1.0.2', 8388, 1, 0)]);
    sampled.sampler.sample(flow);
    expect([sampled.gone, sampled.plain]).toEqual([[flow], []]);
    sampled.said.set(flow.wanFd, undefined);
    sampled.sampler.sample(flow);
    expect(sampled.plain).toEqual([flow]);
  });
});

describe('a subflow that was closed and lingers', () => {
  it('counts no more, is not waited for, and its last bytes still count', () => {
    const sampled = new Sampled();
    const flow = sampled.flow(0);
    sampled.said.set(flow.wanFd, [{ ...subflow('10.0.0.1', '10.0.0.2', 8388, 10, 0), unackedSegments: 3, lastAckRecvMs: 50 }]);
    sampled.sampler.sample(flow);
    expect(sampled.path(0)).toEqual([1, 10, 0]);
    const finWait1 = { ...subflow('10.0.0.1', '10.0.0.2', 8388, 30, 0), state: 4, unackedSegments: 3, lastAckRecvMs: 55 };
    sampled.said.set(flow.wanFd, [finWait1]);
    sampled.sampler.sample(flow);
    sampled.sampler.sample(flow);
    expect(sampled.path(0)).toEqual([0, 30, 0]);
    expect(sampled.counters.path(0).waitingSinceMs).toBe(0);
    sampled.said.set(flow.wanFd, []);
    sampled.sampler.sample(flow);
    expect(sampled.path(0)).toEqual([0, 30, 0]);
    sampled.sampler.last(flow);
    expect(sampled.path(0)).toEqual([0, 30, 0]);
  });
});
