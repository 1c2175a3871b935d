import { describe, expect, it } from 'vitest';
import { parseAddress } from '../wire/ip.ts';
import { at } from './pair.fixture.ts';
import { Bench, threePaths } from './subflows.fixture.ts';

describe('a metered path', () => {
  it("gets no subflow of a connection that stands ready, until it is somebody's", () => {
    const bench = new Bench();
    const spare = bench.flow(0);
    const far = bench.flow(1, { weDialled: false });
    const users = bench.flow(0);
    for (const flow of [users, far]) flow.isUsers = true;
    bench.carry([0, 1, 2], [0, 0, 0], [1]);
    bench.settle();
    expect([spare, users, far].map((flow) => bench.paths(flow))).toEqual([[0, 2], [0, 1, 2], [1]]);
    spare.isUsers = true;
    bench.subflows.look(spare);
    bench.settle();
    expect(bench.paths(spare)).toEqual([0, 1, 2]);
  });

  it('is used by all where no other carries, and left once another does', () => {
    const bench = new Bench();
    const spare = bench.flow(0);
    bench.carry([1], [0, 0, 0], [1]);
    bench.pass(100);
    expect(bench.paths(spare)).toEqual([1]);
    bench.carry([1, 2], [0, 0, 0], [1]);
    bench.pass(100);
    expect(bench.paths(spare)).toEqual([2]);
  });

  it('loses those of connections that stand ready when it becomes metered at run time', () => {
    const bench = new Bench();
    const spare = bench.flow(0);
    bench.carry([0, 1]);
    bench.settle();
    bench.carry([0, 1], [0, 0, 0], [1]);
    bench.settle();
    expect(bench.paths(spare)).toEqual([0]);
  });
});

describe('a path whose uplink strips MPTCP', () => {
  const inner = (isUsed: boolean) => [
    { path: 1, local: parseAddress('198.18.0.1')!, remote: parseAddress('198.18.0.2')!, port: 8_389, isUsed },
  ];
  const ends = (bench: Bench, flow: Parameters<Bench['paths']>[0]) =>
    bench.kernel(flow).subflows.map(({ local, remote }) => `${local.bytes.join('.')} ${remote.bytes.join('.')}`);

  it('has its subflow inside the packet lane, which counts as its own, and loses it when it carries no more', () => {
    const bench = new Bench();
    bench.pathManager.addresses.add('198.18.0.1');
    const flow = bench.flow(0);
    bench.carry([0, 1], undefined, undefined, inner(true));
    bench.pass(50);
    expect(ends(bench, flow)).toEqual(['10.0.0.1 10.0.0.2', '198.18.0.1 198.18.0.2']);
    expect(bench.kernel(flow).subflows[1]!.remote.port).toBe(8_389);
    bench.sampler.sample(flow);
    expect(flow.subflows.map(({ path, isExact }) => [path, isExact])).toEqual([
      [0, true],
      [1, true],
    ]);
    expect([0, 1].map((path) => bench.counters.path(path).subflows)).toEqual([1, 1]);
    bench.carry([0], undefined, undefined, inner(true));
    bench.pass(50);
    expect(ends(bench, flow)).toEqual(['10.0.0.1 10.0.0.2']);
    bench.sampler.sample(flow);
    expect(bench.counters.path(1).subflows).toBe(0);
  });

  it('no more has it outside, and one inside is as good as long as it stands', () => {
    const bench = new Bench();
    bench.pathManager.addresses.add('198.18.0.1');
    const [old] = [bench.flow(0)];
    bench.carry([0, 1], undefined, undefined, inner(true));
    bench.pass(50);
    bench.carry([0, 1], undefined, undefined, inner(false));
    const young = bench.flow(0);
    bench.subflows.look(young);
    bench.pass(50);
    expect(ends(bench, old!)[1]).toBe('198.18.0.1 198.18.0.2');
    expect(ends(bench, young)).toEqual(['10.0.0.1 10.0.0.2', '10.1.0.1 10.1.0.2']);
  });

  it('is recognised by the side that is called, also where that learns of the address later', () => {
    const bench = new Bench();
    const far = bench.flow(0, { weDialled: false });
    bench
      .kernel(far)
      .subflows.push({ ...bench.kernel(far).subflows[0]!, local: at('198.18.0.1', 8_388), remote: at('198.18.0.2', 50_001) });
    bench.carry([0, 1]);
    bench.sampler.sample(far);
    expect(far.subflows.map(({ path }) => path)).toEqual([0, -1]);
    bench.carry([0, 1], undefined, undefined, inner(false));
    bench.sampler.sample(far);
    expect(far.subflows.map(({ path }) => path)).toEqual([0, 1]);
    expect(bench.counters.path(1).subflows).toBe(1);
    bench.carry([0], undefined, undefined, inner(false));
    bench.settle();
    expect(ends(bench, far)).toEqual(['10.0.0.1 10.0.0.2']);
  });
});

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

  it('gets one of a flow that was between two of its states while something was decided', () => {
    const bench = new Bench();
    const flow = bench.flow(0);
    bench.carry([0]);
    bench.settle();
    bench.subflows.look(flow);
    flow.phase = 'connecting';
    bench.carry([0, 1], [1, 1, 0]);
    bench.settle();
    flow.phase = 'open';
    bench.subflows.look(flow);
    bench.settle();
    expect(bench.paths(flow)).toEqual([0, 1]);
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
