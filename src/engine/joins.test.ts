import { describe, expect, it } from 'vitest';
import { TCP_SYN_SENT } from '../kernel/mptcp-info.ts';
import type { Flow } from './flow.ts';
import { at } from './pair.fixture.ts';
import { Bench, threePaths } from './subflows.fixture.ts';

describe('all paths dead, and back, for a flow that the peer dialled', () => {
  /** Its subflows of before stand on both paths; `path` is up again here, and then the peer makes one over `over`. */
  function revived(path: number, over: number) {
    const bench = new Bench();
    const flow = bench.flow(0, { weDialled: false });
    const join = (on: number, port: number) => {
      const { subflows } = bench.kernel(flow);
      subflows.push({ ...subflows[0]!, local: at(`10.${on}.0.1`, 8_388), remote: at(`10.${on}.0.2`, port) });
    };
    join(1, 50_001);
    bench.carry([0, 1]);
    bench.sampler.sample(flow);
    bench.pass(5_000, 50);
    bench.allFell();
    bench.pass(5_000, 50);
    bench.carry(
      [path],
      [0, 1, 2].map((one) => (one === path ? bench.now() : 0)),
    );
    bench.pass(50);
    join(over, 50_002);
    bench.sampler.sample(flow);
    bench.pass(10);
    return bench.kernel(flow).subflows.map(({ remote }) => remote.port);
  }

  it('none of the old ones is left once a younger one stands: what they hold would be acknowledged after seconds only', () => {
    expect(revived(0, 0)).toEqual([50_002]);
  });

  it('what the peer makes is left to it also where it sees another path first', () => {
    expect(revived(0, 1)).toEqual([50_002]);
  });
});

describe('a flow that the peer dialled while we do not trust its paths yet', () => {
  it('keeps all that the peer gives it, whichever path we trust first', () => {
    const bench = new Bench();
    bench.carry([0, 1, 2]);
    bench.pass(1_000, 50);
    bench.allFell();
    bench.pass(2_000, 50);
    const flow = bench.flow(0, { weDialled: false });
    const { subflows } = bench.kernel(flow);
    for (const path of [1, 2])
      subflows.push({ ...subflows[0]!, local: at(`10.${path}.0.1`, 8_388), remote: at(`10.${path}.0.2`, 50_000 + path) });
    bench.sampler.sample(flow);
    for (const carry of [[1], [1, 2], [0, 1, 2]]) {
      bench.pass(100);
      bench.carry(
        carry,
        [0, 1, 2].map((path) => (carry.includes(path) ? bench.now() : 0)),
      );
      bench.settle();
      expect(bench.paths(flow)).toEqual([0, 1, 2]);
    }
    bench.carry([1, 2], [0, bench.now(), bench.now()]);
    bench.settle();
    expect(bench.paths(flow)).toEqual([1, 2]);
  });
});

describe('a flow that the peer dialled and that is idle', () => {
  it('loses what stood on a path before that fell, also where nobody had looked at it yet', () => {
    const metAfterFall = (lastAckRecvMs: number) => {
      const bench = new Bench();
      const flow = bench.flow(0, { weDialled: false });
      bench.sampler.sample(flow);
      bench.carry([0, 1], [1, 1, 0]);
      bench.pass(1_000, 50);
      const { subflows } = bench.kernel(flow);
      subflows.push({ ...subflows[0]!, local: at('10.1.0.1', 8_388), remote: at('10.1.0.2', 50_001), lastAckRecvMs });
      bench.carry([0], [1, 0, 0]);
      bench.clock.advance(20);
      bench.settle();
      return bench.paths(flow);
    };
    expect(metAfterFall(300)).toEqual([0]);
    // The peer saw the path heal before us.
    expect(metAfterFall(5)).toEqual([0, 1]);
  });

  it('loses what the peer made on a path that fell again before we had it', () => {
    const bench = new Bench();
    const flow = bench.flow(0, { weDialled: false });
    bench.carry([0, 1]);
    bench.carry([0], [1, 0, 0]);
    bench.pass(1_000, 50);
    const { subflows } = bench.kernel(flow);
    subflows.push({ ...subflows[0]!, local: at('10.1.0.1', 8_388), remote: at('10.1.0.2', 50_001) });
    bench.sampler.sample(flow);
    bench.pass(100);
    expect(bench.paths(flow)).toEqual([0, 1]);
    bench.decided = { ...bench.decided, fellAtMs: [0, bench.now(), 0, 0] };
    bench.subflows.usePaths([bench.decided]);
    bench.settle();
    expect(bench.paths(flow)).toEqual([0]);
  });
});

describe('joins that come to nothing', () => {
  const failures = (bench: Bench) => bench.posted.filter((message) => message.kind === 'join-failed');

  it('are told of after three in a row, and asked for ever more rarely', () => {
    const bench = new Bench();
    const flows = Array.from({ length: 20 }, () => bench.flow(0));
    bench.pathManager.fates.set('10.1.0.2', 'silent');
    bench.carry([0, 1]);
    bench.pass(2_900, 50);
    expect(failures(bench)).toEqual([]);
    expect(bench.kernel(flows[0]!).subflows[1]!.state).toBe(TCP_SYN_SENT);
    bench.pass(1_400, 50);
    expect(failures(bench)[0]).toEqual({ kind: 'join-failed', peer: 0, path: 1, why: 'no answer' });
    expect(bench.paths(flows[19]!)).toEqual([0]);
    bench.pass(10 * 60_000, 250);
    expect(failures(bench).length).toBeLessThan(20);
    expect(bench.pathManager.calls).toBeLessThan(20 * 2 * 20);
  });

  it('are seen soon where a middlebox makes them vanish, and forgotten once one stands', () => {
    const bench = new Bench();
    const flows = Array.from({ length: 3 }, () => bench.flow(0));
    bench.pathManager.fates.set('10.1.0.2', 'refused');
    bench.carry([0, 1]);
    bench.pass(1_600);
    expect(failures(bench)).toEqual([{ kind: 'join-failed', peer: 0, path: 1, why: 'refused' }]);
    bench.pathManager.fates.clear();
    bench.pass(5_000, 20);
    for (const flow of flows) expect(bench.paths(flow)).toEqual([0, 1]);
    expect(failures(bench).length).toBeLessThan(3);
  });

  it('say nothing of the path where the flows were ending: a connection that ends takes no more', () => {
    const bench = new Bench();
    bench.pathManager.fates.set('10.1.0.2', 'refused');
    bench.carry([0, 1]);
    for (let i = 0; i < 10; i++) {
      const flow = bench.flow(0);
      bench.pass(700, 50);
      bench.flows.delete(flow);
      bench.subflows.forget(flow);
    }
    expect(failures(bench)).toEqual([]);
  });

  it('say nothing of the path either where a flow has nothing left: the peer may not know of it any more', () => {
    const bench = new Bench();
    bench.carry([0, 1]);
    for (const there of ['10.0.0.2', '10.1.0.2']) bench.pathManager.fates.set(there, 'refused');
    for (const flow of Array.from({ length: 4 }, () => bench.flow(0))) {
      bench.kernel(flow).subflows.length = 0;
      bench.subflows.look(flow);
    }
    const before = bench.pathManager.calls;
    bench.pass(10_000, 50);
    expect(bench.pathManager.calls - before).toBeGreaterThan(30);
    expect(failures(bench)).toEqual([]);
  });

  it('do not keep a flow that has nothing left from trying', () => {
    const bench = new Bench();
    const flows = Array.from({ length: 4 }, () => bench.flow(0));
    bench.pathManager.fates.set('10.1.0.2', 'refused');
    bench.carry([0, 1]);
    bench.pass(60_000, 50);
    expect(failures(bench).length).toBeGreaterThan(0);
    const [cutOff, other] = flows as [Flow, Flow];
    bench.pathManager.fates.set('10.0.0.2', 'refused');
    bench.kernel(cutOff).subflows.length = 0;
    bench.sampler.sample(cutOff);
    bench.subflows.look(cutOff);
    bench.pass(1_500, 50);
    bench.pathManager.fates.clear();
    bench.pass(1_300, 50);
    expect([bench.paths(cutOff), bench.paths(other)]).toEqual([[0, 1], [0]]);
  });

  it('are told of, too, where each is reset as soon as it stands, and do not come in a storm', () => {
    const bench = new Bench();
    const flow = bench.flow(0);
    bench.carry([0, 1]);
    for (let passedMs = 0; passedMs < 20_000; passedMs += 20) {
      bench.pass(20);
      bench.sampler.sample(flow);
      bench.kernel(flow).subflows.splice(1);
      bench.sampler.sample(flow);
    }
    expect(failures(bench)[0]).toMatchObject({ path: 1, why: 'reset as soon as they stand' });
    expect(bench.pathManager.calls).toBeLessThan(8);
  });

  it('say what the kernel answered where it would not even try', () => {
    const bench = new Bench();
    bench.pathManager.addresses.delete('10.1.0.1');
    const flows = Array.from({ length: 3 }, () => bench.flow(0));
    bench.carry([0, 1, 2]);
    bench.settle();
    expect(failures(bench)).toEqual([{ kind: 'join-failed', peer: 0, path: 1, why: 'EADDRNOTAVAIL' }]);
    for (const flow of flows) expect(bench.paths(flow)).toEqual([0, 2]);
    bench.pathManager.addresses.add('10.1.0.1');
    bench.carry([0, 1, 2], [0, bench.now(), 0]);
    bench.pass(50);
    for (const flow of flows) expect(bench.paths(flow)).toEqual([0, 1, 2]);
  });
});

describe('a caller behind NAT', () => {
  it('keeps its subflow while any path over the uplink carries', () => {
    const peer = { ...threePaths, paths: [...threePaths.paths, { ...threePaths.paths[0]!, index: 3 }] };
    const bench = new Bench(peer);
    const flow = bench.flow(1, { weDialled: false });
    bench
      .kernel(flow)
      .subflows.push({ ...bench.kernel(flow).subflows[0]!, local: at('10.0.0.1', 8_388), remote: at('203.0.113.9', 51_234) });
    bench.carry([1, 3]);
    bench.settle();
    expect(bench.paths(flow)).toEqual([0, 1]);
    bench.carry([1]);
    bench.settle();
    expect(bench.paths(flow)).toEqual([1]);
  });
});
