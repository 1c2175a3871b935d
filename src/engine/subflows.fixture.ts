import { FakeClock } from '../kernel/clock.ts';
import { MemoryPathManager } from '../kernel/memory-path-manager.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Peer, Site } from '../site/types.ts';
import { Counters } from '../status/counters.ts';
import { Flow } from './flow.ts';
import type { FromWorker, InnerPath, PeerPaths } from './messages.ts';
import { at, peerOf, siteOf } from './pair.fixture.ts';
import { Sampler } from './sampler.ts';
import { Subflows } from './subflows.ts';

export const threePaths = peerOf(0, 'munich', 17, 1, 2, { uplinks: 3 });

/** Flows of one worker and what the kernel knows of them; descriptors are tokens. */
export class Bench {
  readonly clock = new FakeClock();
  readonly pathManager = new MemoryPathManager();
  readonly counters = new Counters(1);
  readonly flows = new Set<Flow>();
  /** What the peer has not acknowledged, by descriptor. */
  readonly unacked = new Map<number, number>();
  readonly posted: FromWorker[] = [];
  readonly sampler: Sampler;
  readonly subflows: Subflows;
  site: Site;
  decided: PeerPaths = { dial: [0, 1, 2, 3], carry: [0, 1, 2, 3], packets: [], upSinceMs: [], fellAtMs: [], warm: 0, reverse: 0 };

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
      sockets: { mptcp, unackedBytes: (fd: number) => this.unacked.get(fd) ?? 0 } as Sockets,
      counters: this.counters,
      flows: this.flows,
      pathManager: this.pathManager,
      plain: { look: () => {} },
      near: { pathsOf: () => bench.decided },
      post: (message: FromWorker) => this.posted.push(message),
    };
    this.sampler = new Sampler(parts);
    this.subflows = new Subflows(parts);
  }

  /** A flow over `path`, whose peer has acknowledged data. */
  flow(path = 0, { weDialled = true, widened = true, isForeign = false } = {}): Flow {
    const flow = new Flow(this.flows.size + 1, weDialled ? 'near' : 'far', this.clock.nowMs(), weDialled);
    flow.peer = 0;
    flow.path = weDialled ? path : -1;
    flow.phase = 'open';
    flow.widened = widened;
    flow.isForeign = isForeign;
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

  carry(carry: number[], upSinceMs: number[] = [0, 0, 0], costly?: number[], inner?: readonly InnerPath[]): void {
    const { dial: before, fellAtMs: fell } = this.decided;
    const fellAtMs = [0, 1, 2, 3].map((path) => (before.includes(path) && !carry.includes(path) ? this.clock.nowMs() : (fell[path] ?? 0)));
    this.decided = {
      dial: carry,
      carry,
      ...(costly && { costly }),
      packets: [],
      ...(inner && { inner }),
      upSinceMs,
      fellAtMs,
      warm: 0,
      reverse: 0,
    };
    this.subflows.usePaths([this.decided]);
  }

  /** All paths died: flows stay where they are. */
  allFell(): void {
    this.decided = { ...this.decided, dial: [], upSinceMs: [0, 0, 0], fellAtMs: [0, 1, 2].map(() => this.clock.nowMs()) };
    this.subflows.usePaths([this.decided]);
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
