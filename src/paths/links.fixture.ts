/**
 * Two sites, each with a monitor of its own, over simulated links on one virtual clock: delay, loss and blackholes for each direction,
 * kernels that go on acknowledging while a process stands still, and processes that stand still.
 */
import { peerOf, siteOf } from '../engine/pair.fixture.ts';
import type { Path, Peer, Site } from '../site/types.ts';
import { LinkSockets } from './link-sockets.fixture.ts';
import { PathMonitor } from './monitor.ts';
import type { OpenedDatagram, PathEventRecord, PathFigures, PeerPaths } from './types.ts';

/** One direction of a link. */
class Direction {
  isDead = false;
  delayMs: number;
  loss = 0;
  queueMs = 0;
  /** UDP does not pass. */
  udpBlocked = false;
  /** Of IP packets; what is larger is lost without a word. */
  mtu = 9_000;
  /** When what was last given to the stream can leave. */
  streamAtMs = 0;

  constructor(delayMs: number) {
    this.delayMs = delayMs;
  }
}

class Link {
  readonly towards: readonly [Direction, Direction];
  plain = false;
  /** Streams that stand, as each side knows of it. */
  readonly streams: [boolean, boolean] = [false, false];
  /** How many were opened. */
  opened = 0;

  constructor(rttMs: number) {
    this.towards = [new Direction(rttMs / 2), new Direction(rttMs / 2)];
  }

  set udpBlocked(isBlocked: boolean) {
    for (const direction of this.towards) direction.udpBlocked = isBlocked;
  }

  set isDead(isDead: boolean) {
    for (const direction of this.towards) direction.isDead = isDead;
  }

  set loss(loss: number) {
    for (const direction of this.towards) direction.loss = loss;
  }
}

/** A small generator of its own, so that a failure can be repeated. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 0x1_0000_0000;
  };
}

/** Workers tell again that they move bytes. */
const BUSY_EVERY_MS = 500;

export class World {
  nowMs = 0;
  readonly random: () => number;
  readonly links: readonly Link[];
  readonly sides: readonly [Side, Side];
  /** Data on every path both ways each 5 ms, and bytes for the rate. */
  hasTraffic = false;
  /** Which sides send. */
  senders: readonly number[] = [0, 1];
  /** A link that nobody sends over. */
  unused = -1;
  readonly #queue: { readonly atMs: number; readonly order: number; readonly run: () => void }[] = [];
  #order = 0;
  #toldBusyAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    rttsMs: readonly number[],
    { seed = 1, kind = 'braid' as Peer['kind'], hosts = {} as { readonly paths?: (path: Path) => Path } } = {},
  ) {
    this.random = randomOf(seed);
    this.links = rttsMs.map((rttMs) => new Link(rttMs));
    const uplinks = rttsMs.length;
    const peer = (index: number, name: string, lan: number, ours: number, theirs: number) => {
      const one = peerOf(index, name, lan, ours, theirs, { uplinks, kind });
      return { ...one, paths: one.paths.map(hosts.paths ?? ((path) => path)) };
    };
    this.sides = [
      new Side(this, 0, siteOf('berlin', 16, 1, [peer(0, 'munich', 17, 1, 2)], { uplinks })),
      new Side(this, 1, siteOf('munich', 17, 2, [peer(0, 'berlin', 16, 2, 1)], { uplinks })),
    ];
    this.#carry();
  }

  at(atMs: number, run: () => void): void {
    const entry = { atMs, order: this.#order++, run };
    let i = this.#queue.length;
    while (i > 0 && this.#queue[i - 1]!.atMs > atMs) i--;
    this.#queue.splice(i, 0, entry);
  }

  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    while (this.#queue.length > 0 && this.#queue[0]!.atMs <= untilMs) {
      const next = this.#queue.shift()!;
      this.nowMs = next.atMs;
      next.run();
    }
    this.nowMs = untilMs;
  }

  /** @returns after how many milliseconds `is` held, within `mostMs`. */
  until(is: () => boolean, mostMs: number): number {
    for (let passedMs = 0; passedMs <= mostMs; passedMs++) {
      if (is()) return passedMs;
      this.pass(1);
    }
    return Number.POSITIVE_INFINITY;
  }

  /** Both have their session and have settled. */
  begin({ hasTraffic = false } = {}): this {
    for (const side of this.sides) side.run();
    this.pass(1_000);
    for (const side of this.sides) side.establish();
    this.hasTraffic = hasTraffic;
    this.pass(4_000);
    for (const side of this.sides) side.events.length = 0;
    return this;
  }

  /** Sends over link `link` from `side`: into the link now, out of it after its delay, unless it is dead or unlucky. */
  send(side: number, link: number, isUdp: boolean, arrive: () => void): void {
    const direction = this.links[link]!.towards[side]!;
    if (direction.isDead || (isUdp && (direction.udpBlocked || this.random() < direction.loss))) return;
    this.at(this.nowMs + direction.delayMs + direction.queueMs, arrive);
  }

  /** Stands after a round trip, for the other side as soon as it has heard the request. */
  dialStream(side: number, link: number, failed: () => void): void {
    const on = this.links[link]!;
    const open = (of: number) => {
      on.streams[of] = true;
      this.sides[of]!.monitor.streamMoved(0, link, true);
    };
    this.send(side, link, false, () =>
      this.send(1 - side, link, false, () => {
        on.opened += 1;
        open(side);
        this.send(side, link, false, () => (this.sides[1 - side]!.hasStreams ? open(1 - side) : this.endStream(1 - side, link)));
      }),
    );
    this.at(this.nowMs + 3_000, () => !on.streams[side] && failed());
  }

  endStream(side: number, link: number): void {
    const on = this.links[link]!;
    on.streams[side] = false;
    this.send(side, link, false, () => {
      if (!on.streams[1 - side]) return;
      on.streams[1 - side] = false;
      this.sides[1 - side]!.monitor.streamMoved(0, link, false);
    });
  }

  /** What is lost on the way comes a timeout later, and so does what is behind it. */
  overStream(side: number, link: number, bytes: Uint8Array): void {
    const on = this.links[link]!;
    const direction = on.towards[side]!;
    if (!on.streams[side]) return;
    const isLost = this.random() < direction.loss;
    direction.streamAtMs = Math.max(direction.streamAtMs, this.nowMs + (isLost ? 200 + 2 * direction.delayMs : 0));
    this.at(direction.streamAtMs, () => {
      if (on.streams[side]) this.send(side, link, false, () => on.streams[1 - side] && this.sides[1 - side]!.receive(bytes));
    });
  }

  #carry(): void {
    if (this.hasTraffic) {
      const isTold = this.nowMs >= this.#toldBusyAtMs + BUSY_EVERY_MS;
      if (isTold) this.#toldBusyAtMs = this.nowMs;
      for (const [from, side] of this.sides.entries()) {
        if (isTold) side.monitor.busy(0);
        if (!this.senders.includes(from)) continue;
        for (let link = 0; link < this.links.length; link++)
          if (link !== this.unused) side.kernel[link]!.send(this, from, link, this.sides[1 - from]!.kernel[link]!);
      }
    }
    this.at(this.nowMs + 5, () => this.#carry());
  }
}

/** What the kernel of one side knows of one path. */
class Kernel {
  lastAckAtMs = 0;
  lastDataAtMs = 0;
  waitingSinceMs = 0;
  txBytes = 0;
  #sent = 0;
  #acked = 0;

  send(world: World, from: number, link: number, other: Kernel): void {
    const number = ++this.#sent;
    if (this.waitingSinceMs === 0) this.waitingSinceMs = world.sides[from]!.nowMs;
    world.send(from, link, false, () => {
      other.lastDataAtMs = world.sides[1 - from]!.nowMs;
      world.send(1 - from, link, false, () => {
        const nowMs = world.sides[from]!.nowMs;
        this.lastAckAtMs = nowMs;
        this.txBytes += 1_000;
        this.#acked = Math.max(this.#acked, number);
        this.waitingSinceMs = this.#acked === this.#sent ? 0 : nowMs;
      });
    });
  }
}

class Side {
  readonly events: PathEventRecord[] = [];
  readonly told: PeerPaths[] = [];
  readonly learned: OpenedDatagram[] = [];
  readonly monitor: PathMonitor;
  readonly kernel: readonly Kernel[];
  readonly links: Map<string, string[]>;
  site: Site;
  /** Towards its own paths: it has addresses to dial. */
  canDial = true;
  /** A peer of an older version takes no streams. */
  hasStreams = true;
  sentDatagrams = 0;
  hasSession = false;
  peerTakesNoCalls = false;
  session = 0;
  readonly #world: World;
  readonly #index: number;
  readonly #counters = new Map<number, number>();
  /** What came by UDP, until a turn reads it; over a stream, while we stand still. */
  readonly #socket: { readonly datagram: OpenedDatagram; readonly atMs: number }[] = [];
  readonly #inbox: OpenedDatagram[] = [];
  #stalledUntilMs = 0;

  constructor(world: World, index: number, site: Site) {
    this.#world = world;
    this.#index = index;
    this.site = site;
    this.kernel = world.links.map(() => new Kernel());
    this.links = new Map(site.uplinks.map(({ device, addresses }) => [device, addresses.map(({ text }) => text)]));
    this.monitor = new PathMonitor({
      site,
      clock: this.clock,
      unixMs: () => world.nowMs,
      sockets: new LinkSockets(world, index),
      datagrams: {
        send: (from, to, bytes) => {
          const link = from.bytes[1]!;
          if (to.bytes[1] !== link) throw new Error('not on this link');
          this.sentDatagrams += 1;
          if (packetBytes(bytes) > world.links[link]!.towards[index]!.mtu) return;
          world.send(index, link, true, () => world.sides[1 - index]!.receive(bytes));
        },
      },
      streams: {
        ask: (_, path) => this.#askStream(path),
        end: (_, path) => world.endStream(index, path),
        send: (_, path, bytes) => world.overStream(index, path, bytes),
      },
      sessionOf: () => (this.hasSession ? { seal: (space, plaintext) => this.#seal(space, plaintext) } : undefined),
      figuresOf: (_, path) => this.#figures(path),
      links: this.links,
      read: () => {
        for (const { datagram, atMs } of this.#socket.splice(0)) this.monitor.received({ ...datagram, ageMs: world.nowMs - atMs });
        return false;
      },
      spares: () => ({ warm: 2, reverse: 0 }),
      takesNoCalls: () => this.peerTakesNoCalls,
      changed: (peers) => this.told.push(peers[0]!),
      event: (record) => this.events.push(record),
      learn: (_, datagram) => this.learned.push(datagram),
    });
  }

  /** Two machines, two clocks. */
  get nowMs(): number {
    return this.#world.nowMs + (this.#index === 0 ? 1_000_000 : 429_490_000);
  }

  get clock() {
    return { nowMs: () => this.nowMs };
  }

  get paths(): PeerPaths {
    return this.monitor.peerPaths()[0]!;
  }

  state(path: number): string {
    return this.monitor.health(0, path)!.state;
  }

  reason(path: number): string {
    return this.monitor.health(0, path)!.reason;
  }

  get falls(): string[] {
    return this.events.filter(({ to }) => to === 'down').map(({ uplink, reason }) => `${uplink}: ${reason}`);
  }

  establish(): void {
    this.hasSession = true;
    this.session += 1;
    this.#counters.clear();
    this.monitor.sessionEstablished(0);
  }

  /** New keys on a stream that stands: numbers start again, and the monitor hears of it by the first heartbeat. */
  rekey(): void {
    this.session += 1;
    this.#counters.clear();
  }

  lose(): void {
    this.hasSession = false;
    this.monitor.sessionLost(0);
  }

  stall(ms: number): void {
    this.#stalledUntilMs = this.#world.nowMs + ms;
  }

  /** As the daemon's loop: timers, then what has arrived. */
  run(): void {
    const { nowMs } = this.#world;
    if (nowMs < this.#stalledUntilMs) {
      this.#world.at(this.#stalledUntilMs, () => this.run());
      return;
    }
    const dueMs = this.monitor.tick();
    for (const datagram of this.#inbox.splice(0)) this.monitor.received(datagram);
    this.#world.at(nowMs + dueMs + this.#world.random(), () => this.run());
  }

  #askStream(link: number): void {
    const gone = () => this.monitor.streamMoved(0, link, false);
    if (!this.canDial) this.#world.at(this.#world.nowMs + 5, gone);
    else this.#world.dialStream(this.#index, link, gone);
  }

  receive(bytes: Uint8Array): void {
    const { space, counter, link, plaintext, session } = JSON.parse(Buffer.from(bytes).toString()) as Sealed;
    if (!this.hasSession) return;
    const { localAddress, peerAddress: at } = this.site.peers[0]!.paths[link]!;
    const datagram = {
      peer: 0,
      session,
      space,
      counter,
      plaintext: Buffer.from(plaintext, 'base64'),
      local: localAddress,
      remote: { bytes: at.address.bytes, port: at.port },
      ...(space >= 192 && { stream: link }),
    };
    if (!('stream' in datagram)) this.#socket.push({ datagram, atMs: this.#world.nowMs });
    else if (this.#world.nowMs < this.#stalledUntilMs) this.#inbox.push(datagram);
    else this.monitor.received(datagram);
  }

  #seal(space: number, plaintext: Uint8Array): Uint8Array {
    const counter = this.#counters.get(space) ?? 0;
    this.#counters.set(space, counter + 1);
    const link = space >= 192 ? space - 192 : space >= 144 ? space - 144 : space - 96;
    const sealed: Sealed = { space, counter, link, plaintext: Buffer.from(plaintext).toString('base64'), session: this.session };
    return Buffer.from(JSON.stringify(sealed));
  }

  #figures(path: number): PathFigures {
    const { lastAckAtMs, lastDataAtMs, waitingSinceMs, txBytes } = this.kernel[path]!;
    const rttMs = this.#world.links[path]!.towards[0]!.delayMs * 2;
    const moments = { lastAckAtMs, lastDataAtMs, waitingSinceMs };
    return { subflows: 1, txBytes, rxBytes: 0, rttMs, minRttMs: rttMs, ...moments, deliveryBytesPerSecond: 0 };
  }
}

interface Sealed {
  readonly space: number;
  readonly counter: number;
  readonly link: number;
  readonly plaintext: string;
  readonly session: number;
}

/** Of the IP packet (IPv4) that a sealed datagram is. */
function packetBytes(sealed: Uint8Array): number {
  const { plaintext } = JSON.parse(Buffer.from(sealed).toString()) as Sealed;
  return 28 + 32 + Buffer.from(plaintext, 'base64').length;
}
