import { describe, expect, it } from 'vitest';
import { FakeClock } from '../kernel/clock.ts';
import { MemoryPathManager } from '../kernel/memory-path-manager.ts';
import { TCP_SYN_SENT } from '../kernel/mptcp-info.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Peer, Site } from '../site/types.ts';
import { Counters } from '../status/counters.ts';
import { parseAddress } from '../wire/ip.ts';
import { Flow } from './flow.ts';
import type { FromWorker } from './messages.ts';
import { at, peerOf, siteOf } from './pair.fixture.ts';
import { Sampler } from './sampler.ts';
import { Subflows } from './subflows.ts';

const threePaths = peerOf(0, 'munich', 17, 1, 2, { uplinks: 3 });

/** Flows of one worker and what the kernel knows of them; descriptors are tokens. */
class Bench {
  readonly clock = new FakeClock();
  readonly pathManager = new MemoryPathManager();
  readonly counters = new Counters(1);
  readonly flows = new Set<Flow>();
  readonly posted: FromWorker[] = [];
  readonly sampler: Sampler;
  readonly subflows: Subflows;
  site: Site;

  constructor(peer: Peer = threePaths) {
    this.site = siteOf('berlin', 16, 1, [peer], { uplinks: 3 });
    this.clock.advance(10_000);
    for (const path of peer.paths) this.pathManager.addresses.add(path.localAddress.bytes.join('.'));
    const mptcp = (fd: number) => {
      const subflows = this.pathManager.connections.get(fd)?.subflows;
      return subflows && { token: fd, subflows };
    };
    const bench = this;
    const parts = {
      get site() {
        return bench.site;
      },
      get nowMs() {
        return bench.clock.nowMs();
      },
      get sampler(): Sampler {
        return bench.sampler;
      },
      get subflows(): Subflows {
        return bench.subflows;
      },
      sockets: { mptcp } as Sockets,
      counters: this.counters,
      flows: this.flows,
      pathManager: this.pathManager,
      plain: { look: () => {} },
      post: (message: FromWorker) => this.posted.push(message),
    };
    this.sampler = new Sampler(parts);
    this.subflows = new Subflows(parts);
  }

  /** A flow over `path`, whose peer has acknowledged data. */
  flow(path = 0, { weDialled = true, widened = true } = {}): Flow {
    const flow = new Flow(this.flows.size + 1, weDialled ? 'near' : 'far', this.clock.nowMs(), weDialled);
    flow.peer = 0;
    flow.path = weDialled ? path : -1;
    flow.phase = 'open';
    flow.widened = widened;
    flow.openedAtMs = this.clock.nowMs();
    flow.wanFd = 100 + this.flows.size;
    this.flows.add(flow);
    const [ours, theirs] = [at(`10.${path}.0.1`, weDialled ? 40_000 : 8_388), at(`10.${path}.0.2`, weDialled ? 8_388 : 40_000)];
    this.pathManager.connect(flow.wanFd, ours, theirs).established = true;
    return flow;
  }

  kernel(flow: Flow) {
    return this.pathManager.connections.get(flow.wanFd)!;
  }

  carry(carry: number[], upSinceMs: number[] = [0, 0, 0]): void {
    this.subflows.usePaths([{ dial: carry, carry, upSinceMs, warm: 0, reverse: 0 }]);
  }

  turn(): void {
    this.subflows.run(this.clock.nowMs());
  }

  settle(): void {
    for (let i = 0; i < 200 && (i === 0 || this.subflows.hasWork); i++) this.turn();
  }

  pass(ms: number, stepMs = 5): void {
    for (let passed = 0; passed < ms; passed += stepMs) {
      this.clock.advance(stepMs);
      this.settle();
    }
  }

  /** The paths that have a subflow of `flow`, as the kernel sees it. */
  paths(flow: Flow): number[] {
    return this.kernel(flow)
      .subflows.map(({ local }) => local.bytes[1]!)
      .sort();
  }

  now(): number {
    return this.clock.nowMs();
  }
}

describe('a path that carries no more', () => {
  it('loses its subflow at once where another stands, at both ends', () => {
    const bench = new Bench();
    const flow = bench.flow(0);
    bench.carry([0, 1, 2]);
    bench.settle();
    expect(bench.paths(flow)).toEqual([0, 1, 2]);
    bench.carry([0, 2]);
    bench.settle();
    expect(bench.paths(flow)).toEqual([0, 2]);
    const far = bench.flow(1, { weDialled: false });
    bench.kernel(far).subflows.push({ ...bench.kernel(far).subflows[0]!, local: at('10.0.0.1', 8_388), remote: at('10.0.0.2', 50_001) });
    bench.carry([0]);
    bench.settle();
    expect([bench.paths(flow), bench.paths(far)]).toEqual([[0], [0]]);
  });

  it('keeps the last subflow until another one stands: the dialler makes one, the other side waits for it', () => {
    const bench = new Bench();
    const near = bench.flow(0, { widened: false });
    const far = bench.flow(0, { weDialled: false });
    bench.pathManager.fates.set('10.1.0.2', 'silent');
    bench.carry([1]);
    bench.pass(500);
    expect([bench.paths(near), bench.paths(far)]).toEqual([[0, 1], [0]]);
    bench.kernel(near).subflows[1]!.state = 1;
    bench.kernel(far).subflows.push({ ...bench.kernel(far).subflows[0]!, local: at('10.1.0.1', 8_388), remote: at('10.1.0.2', 50_001) });
    bench.pass(400);
    expect([bench.paths(near), bench.paths(far)]).toEqual([[1], [1]]);
  });

  it('is not joined where the peer only comes from, and what came from there stays', () => {
    const learned = { ...threePaths, paths: threePaths.paths.map((path) => ({ ...path, learned: path.index === 2 })) };
    const bench = new Bench(learned);
    const near = bench.flow(0);
    const far = bench.flow(2, { weDialled: false });
    bench.carry([0, 1, 2]);
    bench.pass(5_000);
    expect([bench.paths(near), bench.paths(far)]).toEqual([[0, 1], [2]]);
    expect(bench.posted.filter(({ kind }) => kind === 'join-failed')).toEqual([]);
  });

  it('takes its time only as a round trip does', () => {
    const bench = new Bench();
    const flow = bench.flow(0);
    bench.carry([1]);
    bench.settle();
    expect(bench.paths(flow)).toEqual([0, 1]);
    bench.pass(25);
    expect(bench.paths(flow)).toEqual([1]);
  });

  it('never takes the last one, whatever is decided', () => {
    const bench = new Bench();
    const flow = bench.flow(0, { weDialled: false });
    bench.carry([2]);
    bench.pass(5_000, 50);
    bench.carry([]);
    bench.pass(5_000, 50);
    expect(bench.paths(flow)).toEqual([0]);
  });

  it('is cleared for flows that move bytes first, all of them in a bounded number of calls a turn', () => {
    const bench = new Bench();
    const flows = Array.from({ length: 300 }, () => bench.flow(0));
    bench.carry([0, 1]);
    bench.settle();
    for (const flow of flows.slice(250)) flow.isActive = true;
    const before = bench.pathManager.calls;
    bench.carry([0]);
    bench.turn();
    expect(bench.pathManager.calls - before).toBe(64);
    for (const flow of flows.slice(250)) expect(bench.paths(flow)).toEqual([0]);
    expect(bench.subflows.hasWork).toBe(true);
    bench.settle();
    expect(bench.pathManager.calls - before).toBe(300);
    for (const flow of flows) expect(bench.paths(flow)).toEqual([0]);
  });
});

describe('a path that carries', () => {
  it('gets a subflow of each widened flow that we dialled, and of no other', () => {
    const bench = new Bench();
    const [wide, short, far] = [bench.flow(0), bench.flow(0, { widened: false }), bench.flow(0, { weDialled: false })];
    bench.carry([0]);
    bench.settle();
    bench.carry([0, 1]);
    bench.settle();
    expect([bench.paths(wide), bench.paths(short), bench.paths(far)]).toEqual([[0, 1], [0], [0]]);
  });

  it('gets one again after it was dead, and each address keeps its id, 0 for the first one', () => {
    const bench = new Bench();
    const flow = bench.flow(1);
    for (let i = 0; i < 5; i++) {
      bench.carry([0, 1, 2], [bench.now(), 0, 0]);
      bench.pass(50);
      expect(bench.paths(flow)).toEqual([0, 1, 2]);
      bench.carry([1, 2]);
      bench.pass(50);
      expect(bench.paths(flow)).toEqual([1, 2]);
    }
    bench.carry([0, 2], [bench.now(), 0, 0]);
    bench.pass(50);
    bench.carry([0, 1, 2], [0, bench.now(), 0]);
    bench.pass(50);
    expect(bench.paths(flow)).toEqual([0, 1, 2]);
    expect([...bench.kernel(flow).ids].filter(([, id]) => id === 0)).toEqual([['10.1.0.1', 0]]);
    expect(bench.posted).toEqual([]);
  });

  it('replaces a subflow that is older than the path by one that stands, before it goes', () => {
    const bench = new Bench();
    const flow = bench.flow(0);
    bench.carry([0]);
    bench.settle();
    const [old] = bench.kernel(flow).subflows;
    bench.pass(100);
    bench.pathManager.fates.set('10.0.0.2', 'silent');
    bench.carry([0], [bench.now()]);
    bench.pass(50);
    expect(bench.kernel(flow).subflows).toHaveLength(2);
    expect(bench.kernel(flow).subflows[0]).toBe(old);
    bench.kernel(flow).subflows[1]!.state = 1;
    bench.pass(300);
    expect(bench.kernel(flow).subflows).toHaveLength(1);
    expect(bench.kernel(flow).subflows[0]).not.toBe(old);
  });

  it('gets a subflow again that the peer or the path reset', () => {
    const bench = new Bench();
    const flow = bench.flow(0);
    bench.carry([0, 1]);
    bench.settle();
    Object.assign(bench.kernel(flow).subflows[1]!, { bytesAcked: 100 });
    bench.sampler.sample(flow);
    bench.kernel(flow).subflows.pop();
    bench.sampler.sample(flow);
    bench.pass(50);
    expect(bench.paths(flow)).toEqual([0, 1]);
  });

  it('is asked for again, ever more rarely, until the peer has acknowledged data', () => {
    const bench = new Bench();
    const flow = bench.flow(0);
    bench.kernel(flow).established = false;
    bench.carry([0, 1]);
    bench.pass(100);
    expect(bench.pathManager.calls).toBeGreaterThan(2);
    expect(bench.pathManager.calls).toBeLessThan(6);
    bench.kernel(flow).established = true;
    bench.pass(200);
    expect(bench.paths(flow)).toEqual([0, 1]);
    const silent = bench.flow(0);
    bench.kernel(silent).established = false;
    const before = bench.pathManager.calls;
    bench.subflows.look(silent);
    bench.pass(60_000, 50);
    expect(bench.pathManager.calls - before).toBeLessThan(12);
  });

  it('is not called where the peer only comes from: nobody answers there', () => {
    const bench = new Bench({ ...threePaths, paths: threePaths.paths.map((path) => ({ ...path, learned: path.index > 0 })) });
    const flow = bench.flow(0);
    bench.carry([0, 1, 2]);
    expect(bench.subflows.hasMore(flow)).toBe(false);
    bench.pass(3_000);
    expect([bench.paths(flow), bench.posted]).toEqual([[0], []]);
  });

  it('is not asked for where the connection has gone', () => {
    const bench = new Bench();
    const flow = bench.flow(0);
    bench.pathManager.connections.delete(flow.wanFd);
    bench.carry([0, 1]);
    bench.pass(1_000);
    expect(bench.pathManager.calls).toBe(0);
  });

  it('of an uplink whose address changed has an id of its own', () => {
    const bench = new Bench();
    const flow = bench.flow(0);
    bench.carry([0, 1]);
    bench.settle();
    bench.carry([0]);
    bench.settle();
    const peer = bench.site.peers[0]!;
    const moved = parseAddress('10.1.0.77')!;
    const paths = peer.paths.map((path) => (path.index === 1 ? { ...path, localAddress: moved } : path));
    const uplinks = bench.site.uplinks.map((uplink) => (uplink.index === 1 ? { ...uplink, addresses: [moved] } : uplink));
    bench.site = { ...bench.site, uplinks, peers: [{ ...peer, paths }] };
    bench.subflows.useSite(bench.site);
    bench.pathManager.addresses.add('10.1.0.77');
    bench.carry([0, 1], [0, bench.now()]);
    bench.pass(50);
    expect(bench.kernel(flow).subflows.map(({ local }) => local.bytes.join('.'))).toEqual(['10.0.0.1', '10.1.0.77']);
    expect(bench.posted).toEqual([]);
  });
});

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
    bench.pass(400, 50);
    expect(failures(bench)[0]).toEqual({ kind: 'join-failed', peer: 0, path: 1, why: 'no answer' });
    expect(bench.paths(flows[0]!)).toEqual([0]);
    bench.pass(10 * 60_000, 250);
    expect(failures(bench).length).toBeLessThan(20);
    expect(bench.pathManager.calls).toBeLessThan(20 * 2 * 20);
  });

  it('are seen soon where a middlebox makes them vanish, and forgotten once one stands', () => {
    const bench = new Bench();
    const flows = Array.from({ length: 3 }, () => bench.flow(0));
    bench.pathManager.fates.set('10.1.0.2', 'refused');
    bench.carry([0, 1]);
    bench.pass(600);
    expect(failures(bench)).toEqual([{ kind: 'join-failed', peer: 0, path: 1, why: 'refused' }]);
    bench.pathManager.fates.clear();
    bench.pass(5_000, 20);
    for (const flow of flows) expect(bench.paths(flow)).toEqual([0, 1]);
    expect(failures(bench)).toHaveLength(1);
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
